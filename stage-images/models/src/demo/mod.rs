//! The demonstration's image models: what can be had on a CPU without a trained dual encoder.
//!
//! No text and image towers trained on each other come in any package, so text and image are joined by names: the
//! network's ImageNet labels are embedded as texts, and an image lies where its likeliest labels lie (ConSE, Norouzi et
//! al. 2014). An image can thus only be as far as a mix of 1,000 animals and objects reaches. It knows no people,
//! places, events, charts or writing, and counts nothing; photos of what ImageNet has come out well, maps and diagrams
//! come out as whatever they resemble. Its cosines are not CLIP's, so thresholds taken from CLIP mean nothing here. It
//! shows the pipeline at work; datasets are built with CLIP.

mod caption;
mod encoder;
mod labels;
mod tag;

pub use caption::LabelCaptioner;
pub use encoder::ConseEncoder;
pub use tag::{LabelTagger, LabelTaggerOptions};
