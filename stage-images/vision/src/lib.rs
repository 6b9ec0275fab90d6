//! Images: bounded decoding, the rules on size and shape, stored sizes, perceptual hashes.
//!
//! Pure functions over byte slices: no I/O, no clock, no global state. Nothing here panics on any input, and what a picture
//! may cost in memory is known from its header before a pixel is allocated.
#![forbid(unsafe_code)]

mod decode;
mod fingerprint;
mod orientation;
mod phash;
mod registration;
mod reject;
mod rgb;
mod rules;
mod store_size;
mod thumbnail;

pub use decode::{DecodeLimits, Decoded, Format, Header, decode, decode_if};
pub use fingerprint::{DETAIL_SIDE, Fingerprint, Likeness, Thresholds};
pub use phash::{BAND_COUNT, BAND_MAX_DISTANCE, bands, hamming, phash};
pub use registration::{Registration, RegistrationThresholds, THUMBNAIL_SIDE, Thumbnail};
pub use reject::ImageReject;
pub use rgb::Rgb;
pub use rules::ShapeRules;
pub use store_size::{encode_jpeg, resize_exact, shrink};
pub use thumbnail::FLAT_DEVIATION;
