//! Small pictures for the page, from the decoded ones at their home shards.

use std::collections::{BTreeMap, HashMap};

use realsyn_dataset::formats::tar::TarReader;
use realsyn_dataset::table_row;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_vision::{DecodeLimits, decode, encode_jpeg, shrink};
use serde::{Deserialize, Serialize};

use super::Reader;
use crate::report::data::{Picture, Sheet};

/// Short side of a picture in the strip under the headline.
const STRIP_SIDE: u32 = 116;
/// Pictures in the strip.
const STRIP: usize = 12;
const QUALITY: u8 = 78;

/// Images that the page shows, with the short side that each needs.
#[derive(Debug, Default)]
pub struct Wanted(BTreeMap<Id, u32>);

impl Wanted {
    pub fn add(&mut self, image: Id, short_side: u32) {
        let side = self.0.entry(image).or_default();
        *side = short_side.max(*side);
    }
}

table_row! {
    /// The columns of a decoded image that the page needs.
    #[derive(Debug, Serialize, Deserialize)]
    struct Size {
        image: Id,
        width: u32,
        height: u32,
    }
}

/// Makes the wanted pictures in one walk over the shards, which ends when all are found. A picture that cannot be read
/// is left out: the page says so in its place.
pub fn load(from: &Reader, wanted: Wanted) -> anyhow::Result<HashMap<Id, Picture>> {
    let mut open = wanted.0;
    let mut found = HashMap::new();
    for number in from.shards(ids::DECODE) {
        if open.is_empty() {
            break;
        }
        let job = from.job(ids::DECODE, number);
        let here: HashMap<Id, (u32, u32)> = job
            .table_of::<Size>(ids::DECODE, number, "images")?
            .into_iter()
            .filter(|s| open.contains_key(&s.image))
            .map(|s| (s.image, (s.width, s.height)))
            .collect();
        if here.is_empty() {
            continue;
        }
        let Some(media) = job.object_of(ids::DECODE, number, "media")? else { continue };
        let limits = DecodeLimits::default();
        for member in TarReader::new(&media[..], limits.max_bytes as u64) {
            let (name, bytes) = member?;
            let id = name.strip_suffix(".jpg").and_then(|n| n.parse::<Id>().ok());
            let Some((id, source)) = id.and_then(|id| Some((id, *here.get(&id)?))) else { continue };
            let Some(side) = open.remove(&id) else { continue };
            if let Some(picture) = small(&bytes, side, source) {
                found.insert(id, picture);
            }
        }
    }
    Ok(found)
}

fn small(bytes: &[u8], side: u32, source: (u32, u32)) -> Option<Picture> {
    let shown = shrink(&decode(bytes, &DecodeLimits::default()).ok()?.rgb, side);
    Some(Picture { jpeg: encode_jpeg(&shown, QUALITY), width: shown.width(), height: shown.height(), source })
}

/// The first pictures of the sheet, smaller, for the strip: in the order of the pairs, as far as pictures go without a
/// gap.
pub fn strip(sheet: &Sheet) -> Vec<Picture> {
    let shown = sheet.pairs.iter().take(STRIP).map_while(|p| p.picture.as_ref());
    shown.map_while(|p| small(&p.jpeg, STRIP_SIDE, p.source)).collect()
}
