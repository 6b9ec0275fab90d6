//! The account of an image.

use std::fmt::Write;

use realsyn_plan::graph::ids;

use super::{Account, Found};
use crate::run::StageError;
use crate::stages::rows::{
    Captioned, ClusteredImage, Decoded, Dropped, Fetched, Generated, Occurrence, PairScore, Retrieved, Tagged,
};

/// What the home shards know of an image's bytes.
#[derive(Default)]
struct Copies {
    /// The shards that decoded it, in order; the first is its home.
    decoded: Vec<(u32, Decoded)>,
    /// Why it could not be decoded: the same everywhere, since the bytes are.
    dropped: Option<Dropped>,
    /// Where it occurs.
    occurrences: Vec<Occurrence>,
}

impl Account<'_> {
    /// Everything that the build knows of the image of this id, if it is one.
    pub(super) fn image(&mut self) -> Result<Found, StageError> {
        let id = self.id;
        let copies = self.copies()?;
        if let Some(row) = &copies.dropped {
            _ = writeln!(self.text, "image {id}");
            self.occurs(&copies.occurrences);
            self.drop_line(ids::DECODE, row);
            return Ok(Found::Dropped);
        }
        let Some((home, decoded)) = copies.decoded.first() else { return Ok(Found::Nothing) };
        let home = *home;
        _ = writeln!(self.text, "image {id}");
        let shards: Vec<String> = copies.decoded.iter().map(|(n, _)| n.to_string()).collect();
        self.line(
            "image-decode",
            format_args!(
                "{} {}\u{d7}{}, {} bytes, stored {}\u{d7}{}; shards {}; home {home}",
                decoded.format,
                decoded.width,
                decoded.height,
                decoded.bytes,
                decoded.stored_width,
                decoded.stored_height,
                shards.join(", ")
            ),
        );
        self.occurs(&copies.occurrences);
        if self.dropped(ids::POLICY, home)? || self.dropped(ids::HOME, home)? {
            return Ok(Found::Dropped);
        }
        self.texts(home)?;
        Ok(Found::Image { home })
    }

    fn copies(&self) -> Result<Copies, StageError> {
        let id = self.id;
        let mut copies = Copies::default();
        for number in 0..self.shards(ids::DECODE) {
            if let Some(mut row) = self.row::<Decoded>(ids::DECODE, number, "images", |d| d.image == id)? {
                copies.occurrences.append(&mut row.occurrences);
                copies.decoded.push((number, row));
            } else if let Some(row) = self.dropped_row(ids::DECODE, number)? {
                copies.occurrences.extend(self.references(number)?);
                copies.dropped.get_or_insert(row);
            }
            self.run.forget_commits();
        }
        Ok(copies)
    }

    /// The references of a shard that led to the image.
    fn references(&self, number: u32) -> Result<Vec<Occurrence>, StageError> {
        let fetched: Vec<Fetched> = self.job(ids::FETCH, number).table_of(ids::FETCH, number, "results")?;
        let of_image = fetched.into_iter().filter(|f| f.image == Some(self.id));
        Ok(of_image.map(Occurrence::from).collect())
    }

    fn occurs(&mut self, occurrences: &[Occurrence]) {
        for o in occurrences {
            let page = o.document_url.clone().unwrap_or_else(|| o.document.to_string());
            self.line("  occurs", format_args!("{page} at {}: {}", o.position, o.url));
        }
    }

    /// What was found and written for it.
    fn texts(&mut self, home: u32) -> Result<(), StageError> {
        let id = self.id;
        if let Some(r) = self.row::<ClusteredImage>(ids::HOME, home, "images", |r| r.image == id)? {
            self.line("image-cluster", format_args!("cell {} cluster {}", r.cluster >> 32, r.cluster & 0xffff_ffff));
        }
        if let Some(r) = self.row::<Retrieved>(ids::CANDIDATES, home, "candidates", |r| r.image == id)? {
            for (rank, c) in r.candidates.iter().enumerate() {
                self.line("retrieve", format_args!("{:>2}. {:.4} {} {}", rank + 1, c.cosine, c.sentence, c.text));
            }
        }
        if let Some(r) = self.row::<Captioned>(ids::CAPTION, home, "captions", |r| r.image == id)? {
            self.line("caption", r.caption);
        }
        if let Some(r) = self.row::<Tagged>(ids::TAG, home, "tags", |r| r.image == id)? {
            let tags: Vec<String> = r.tags.iter().map(|t| format!("{} {:.3}", t.tag, t.score)).collect();
            self.line("tag", tags.join(", "));
        }
        if let Some(r) = self.row::<Generated>(ids::GENERATE, home, "texts", |r| r.image == id)? {
            self.line("generate", format_args!("{}: {}", r.outcome, r.text.unwrap_or_default()));
        }
        if let Some(r) = self.row::<PairScore>(ids::PAIR_SCORE, home, "scores", |r| r.image == id)? {
            let cosine = r.cosine.map_or_else(|| "not computed".into(), |c| format!("cosine {c:.4}"));
            self.line("pair-score", cosine);
        }
        Ok(())
    }
}
