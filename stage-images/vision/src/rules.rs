//! The rules on size and shape.

use crate::ImageReject;

/// The rules on size and shape (paper §3.1: shorter side at least 100 pixels, aspect ratio at most 3:1 and at least 1:3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapeRules {
    /// The least shorter side, in pixels.
    pub min_side: u32,
    /// The greatest longer side as a multiple of the shorter one; exactly this much is kept.
    pub max_aspect: f64,
}

impl Default for ShapeRules {
    fn default() -> Self {
        Self { min_side: 100, max_aspect: 3.0 }
    }
}

impl ShapeRules {
    /// Checks a picture's sides in pixels, in either order.
    ///
    /// # Errors
    /// [`ImageReject::TooSmall`], or else [`ImageReject::BadAspect`].
    pub fn check(&self, width: u32, height: u32) -> Result<(), ImageReject> {
        let (short, long) = (width.min(height), width.max(height));
        if short < self.min_side.max(1) {
            return Err(ImageReject::TooSmall);
        }
        if f64::from(long) > self.max_aspect * f64::from(short) {
            return Err(ImageReject::BadAspect);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ShapeRules;
    use crate::ImageReject;

    #[test]
    fn the_limits_themselves_are_kept() {
        let rules = ShapeRules::default();
        assert_eq!(rules.check(100, 300), Ok(()));
        assert_eq!(rules.check(300, 100), Ok(()));
        assert_eq!(rules.check(99, 100), Err(ImageReject::TooSmall));
        assert_eq!(rules.check(100, 301), Err(ImageReject::BadAspect));
        assert_eq!(rules.check(0, 0), Err(ImageReject::TooSmall));
        assert_eq!(rules.check(u32::MAX, u32::MAX), Ok(()));
    }
}
