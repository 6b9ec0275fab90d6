//! `fetch`: image URLs to bytes, from where mirrors map them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use realsyn_crds::Format;
use realsyn_dataset::formats::tar::TarWriter;
use realsyn_dataset::store::{AT_ONCE, Store, at_once, check_name};
use realsyn_plan::Id;
use realsyn_plan::graph::ids;

use super::images::trouble;
use super::rows::{Fetched, ImageRef};
use crate::run::{Archives, Job, Output, StageError};

/// The largest image that is fetched at all, in bytes. What a build accepts is decided when it is decoded.
pub const MAX_FETCHED: u64 = 64 << 20;

/// `fetch/fetch`: every image URL of a shard to bytes. One result per reference; one member per distinct image.
pub fn fetch(job: &Job) -> Result<Output, StageError> {
    let refs: Vec<ImageRef> = job.shard(ids::DOCUMENTS, "images")?;
    let mut media = TarWriter::new(Vec::new());
    let mut by_url: HashMap<&str, (&'static str, Option<Id>)> = HashMap::new();
    let mut stored: BTreeSet<Id> = BTreeSet::new();
    let mut archives = Archives::default();
    let mut seen = HashSet::new();
    let urls: Vec<&str> = refs.iter().map(|r| r.url.as_str()).filter(|url| seen.insert(*url)).collect();
    for urls in urls.chunks(AT_ONCE) {
        let places: Vec<Found> = urls.iter().map(|url| place(job, url, &mut archives)).collect::<Result<_, _>>()?;
        let sized = at_once(places.len(), |n| places[n].as_ref().map_or_else(|why| Ok(Err(*why)), Place::sized))?;
        let mut rest = urls.iter().zip(sized).peekable();
        while rest.peek().is_some() {
            // As many at once as are not larger together than one may be.
            let mut room = MAX_FETCHED;
            let mut batch = Vec::new();
            while let Some(next) = rest.next_if(|(_, place)| place.as_ref().map_or(0, |(_, bytes)| *bytes) <= room) {
                room -= next.1.as_ref().map_or(0, |(_, bytes)| *bytes);
                batch.push(next);
            }
            let fetched = at_once(batch.len(), |n| match &batch[n].1 {
                Ok((place, _)) => place.read(),
                Err(why) => Ok(Err(*why)),
            })?;
            for ((url, _), bytes) in batch.into_iter().zip(fetched) {
                let found = match bytes {
                    Ok(bytes) => {
                        let id = Id::of_image(&bytes);
                        if stored.insert(id) {
                            media.append(&id.to_string(), &bytes).map_err(trouble)?;
                        }
                        ("fetched", Some(id))
                    }
                    Err(why) => (why, None),
                };
                by_url.insert(url, found);
            }
        }
    }
    let mut out = Output::default();
    let mut results = Vec::with_capacity(refs.len());
    for r in &refs {
        let (status, image) = by_url[r.url.as_str()];
        out.count("in", 1);
        match image {
            Some(_) => out.count("out", 1),
            None => out.count(format!("dropped.{status}"), 1),
        }
        results.push(Fetched {
            document: r.document,
            document_url: r.document_url.clone(),
            position: r.position,
            url: r.url.clone(),
            alt: r.alt.clone(),
            licence: r.licence.clone(),
            status: status.to_owned(),
            image,
        });
    }
    out.table("results", &results)?;
    out.object("media", "tar", stored.len() as u64, media.finish().map_err(trouble)?);
    Ok(out)
}

/// Where an image lies, or why it cannot be had.
type Found<'a> = Result<Place<'a>, &'static str>;

/// An object, or a range of an archive.
struct Place<'a> {
    store: &'a Arc<dyn Store>,
    name: String,
    range: Option<Range<u64>>,
}

fn place<'a>(job: &'a Job, url: &str, archives: &mut Archives) -> Result<Found<'a>, StageError> {
    let Some((store, name)) = job.run.mirrors.find(url) else { return Ok(Err("not-fetched")) };
    // A name that no store can have is a reference that leads nowhere, not trouble with the store.
    if check_name(&name).is_err() {
        return Ok(Err("missing"));
    }
    if job.run.source.format == Format::Images
        && let Some(member) = archives.find(store.as_ref(), &name)?
    {
        let Some(range) = member.range else { return Ok(Err("missing")) };
        return Ok(Ok(Place { store, name: member.archive.to_owned(), range: Some(range) }));
    }
    Ok(Ok(Place { store, name, range: None }))
}

impl Place<'_> {
    /// This place and the bytes that lie there, unless that is nothing, or too much.
    fn sized(&self) -> Result<Result<(&Self, u64), &'static str>, StageError> {
        let bytes = match &self.range {
            Some(range) => Some(range.end - range.start),
            None => self.store.size(&self.name)?,
        };
        Ok(match bytes {
            None => Err("missing"),
            Some(bytes) if bytes > MAX_FETCHED => Err("too-many-bytes"),
            Some(bytes) => Ok((self, bytes)),
        })
    }

    fn read(&self) -> Result<Result<Vec<u8>, &'static str>, StageError> {
        Ok(match &self.range {
            Some(range) => Ok(self.store.get_range(&self.name, range.clone())?),
            None => self.store.get(&self.name)?.ok_or("missing"),
        })
    }
}
