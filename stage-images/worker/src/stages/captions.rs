//! `caption`, `tag`, `generate`, `pair-score`: the synthetic text of each image (paper §3.2) and how well it fits.

use std::collections::{BTreeSet, HashMap};

use half::f16;
use realsyn_models::Prompt;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_plan::records::Histogram;
use realsyn_vectors::dot;

use super::answer::judge;
use super::images::{pictures, views};
use super::rows::{Captioned, ClusteredImage, Generated, PairScore, Retrieved, TagScore, Tagged, WordCount};
use crate::chat::Asked;
use crate::run::{Job, Output, StageError};

/// `caption/caption`: one caption per kept image.
pub fn caption(job: &Job) -> Result<Output, StageError> {
    let images = kept(job)?;
    let pictures = pictures(job, &images.iter().copied().collect::<BTreeSet<_>>())?;
    let captions = job.run.models.captioner()?.caption(&views(&pictures, &images)?).map_err(anyhow::Error::from)?;
    let rows: Vec<Captioned> =
        images.into_iter().zip(captions).map(|(image, caption)| Captioned { image, caption }).collect();
    let mut out = Output::default();
    out.count("in", rows.len() as u64);
    out.count("out", rows.len() as u64);
    out.table("captions", &rows)?;
    Ok(out)
}

/// `tag/tag`: the tagger's labels and the corpus's own nouns.
pub fn tag(job: &Job) -> Result<Output, StageError> {
    let images = kept(job)?;
    let settings = &job.run.build.stages.tag;
    let vocabulary: Vec<WordCount> = job.table_of(ids::NOUNS_FREEZE, 0, "words")?;
    let vocabulary: Vec<&str> = vocabulary.iter().map(|w| w.word.as_str()).collect();
    let tagger = job.run.models.tagger(&vocabulary, settings)?;
    let pictures = pictures(job, &images.iter().copied().collect::<BTreeSet<_>>())?;
    let tags = tagger.tag(&views(&pictures, &images)?).map_err(anyhow::Error::from)?;
    let rows: Vec<Tagged> = images
        .into_iter()
        .zip(tags)
        .map(|(image, tags)| Tagged {
            image,
            tags: tags.into_iter().map(|t| TagScore { tag: t.name, score: t.score }).collect(),
        })
        .collect();
    let mut out = Output::default();
    out.count("in", rows.len() as u64);
    out.count("out", rows.len() as u64);
    out.count("tags", rows.iter().map(|r| r.tags.len() as u64).sum());
    out.table("tags", &rows)?;
    Ok(out)
}

fn kept(job: &Job) -> Result<Vec<Id>, StageError> {
    Ok(job.shard::<ClusteredImage>(ids::HOME, "images")?.into_iter().map(|r| r.image).collect())
}

/// What the model is told once, before every question: after paper A.2, in fewer words for a small model. It is the
/// constant prefix whose cache is shared.
const SYSTEM: &str = "You merge a raw text, a synthetic caption and detection tags into one image description. \
The raw text holds real-world detail but may read badly; the caption reads well but may be wrong; some tags are noise. \
Write one well-structured sentence that keeps the raw text's details. Add nothing that is not given. \
Answer with the sentence alone.";

struct Question {
    image: Id,
    raw: String,
    caption: String,
    tags: Vec<String>,
}

impl Question {
    fn prompt(&self) -> String {
        format!("Raw text: {}\nSynthetic caption: {}\nTags: {}", self.raw, self.caption, self.tags.join(", "))
    }

    /// The second try leaves the tags out: they are what a confused answer echoes.
    fn second_prompt(&self) -> String {
        format!("Raw text: {}\nSynthetic caption: {}", self.raw, self.caption)
    }
}

/// `generate/generate`: rank-1 text, caption and tags to one synthetic text; a bad answer is asked for once more.
pub fn generate(job: &Job) -> Result<Output, StageError> {
    let captions: HashMap<Id, String> =
        job.shard::<Captioned>(ids::CAPTION, "captions")?.into_iter().map(|c| (c.image, c.caption)).collect();
    let tags: HashMap<Id, Vec<TagScore>> =
        job.shard::<Tagged>(ids::TAG, "tags")?.into_iter().map(|t| (t.image, t.tags)).collect();
    let mut rows = Vec::new();
    let mut questions = Vec::new();
    for retrieved in job.shard::<Retrieved>(ids::CANDIDATES, "candidates")? {
        let image = retrieved.image;
        rows.push(Generated { image, text: None, outcome: "no-sentence".into() });
        if let Some(best) = retrieved.candidates.into_iter().next() {
            questions.push(Question {
                image,
                raw: best.text,
                caption: captions.get(&image).cloned().unwrap_or_default(),
                tags: tags.get(&image).into_iter().flatten().map(|t| t.tag.clone()).collect(),
            });
        }
    }
    let writer = job.run.models.writer(&job.run.build)?;
    let mut answers: HashMap<Id, Result<String, &'static str>> = HashMap::new();
    let mut out = Output::default();
    for (round, prompt) in [Question::prompt as fn(&Question) -> String, Question::second_prompt].iter().enumerate() {
        let open: Vec<&Question> = questions.iter().filter(|q| !matches!(answers.get(&q.image), Some(Ok(_)))).collect();
        let users: Vec<String> = open.iter().map(|q| prompt(q)).collect();
        let asked = |question: &Question, user| Asked { id: question.image, prompt: Prompt { system: SYSTEM, user } };
        let asked: Vec<Asked> = open.iter().zip(&users).map(|(question, user)| asked(question, user)).collect();
        for (question, answer) in open.iter().zip(writer.ask(&asked)?) {
            out.count("tokens", answer.as_ref().map_or(0, |text| text.tokens.into()));
            out.count(if round == 0 { "asked" } else { "asked-again" }, 1);
            answers.insert(question.image, answer.and_then(|text| judge(&text, &question.raw)));
        }
    }
    for row in &mut rows {
        out.count("in", 1);
        match answers.remove(&row.image) {
            Some(Ok(text)) => {
                out.count("out", 1);
                (row.text, row.outcome) = (Some(text), "ok".into());
            }
            Some(Err(reason)) => row.outcome = reason.into(),
            None => {}
        }
        if row.text.is_none() {
            out.count(format!("dropped.{}", row.outcome), 1);
        }
    }
    out.table("texts", &rows)?;
    Ok(out)
}

/// `pair-score/score`: cosine of each image and its synthetic text.
pub fn pair_score(job: &Job) -> Result<Output, StageError> {
    let images = kept(job)?;
    let (vectors, dim) = job.shard_vectors(ids::HOME, "vectors")?;
    let texts: HashMap<Id, String> =
        job.shard::<Generated>(ids::GENERATE, "texts")?.into_iter().filter_map(|g| Some((g.image, g.text?))).collect();
    let with_text: Vec<usize> = (0..images.len()).filter(|&at| texts.contains_key(&images[at])).collect();
    let list: Vec<&str> = with_text.iter().map(|&at| texts[&images[at]].as_str()).collect();
    let encoded = job.run.models.text_encoder()?.encode(&list).map_err(anyhow::Error::from)?;
    let mut cosines: Vec<Option<f32>> = vec![None; images.len()];
    for (&at, text) in with_text.iter().zip(encoded.chunks_exact(dim.max(1))) {
        let text: Vec<f16> = text.iter().map(|x| f16::from_f32(*x)).collect();
        cosines[at] = Some(dot(&vectors[at * dim..(at + 1) * dim], &text) as f32);
    }
    let mut out = Output::default();
    let mut rows = Vec::with_capacity(images.len());
    for (image, cosine) in images.into_iter().zip(cosines) {
        out.count("in", 1);
        out.count(if cosine.is_some() { "out" } else { "dropped.no-synthetic-text" }, 1);
        out.observe("similarity", || Histogram::new(-0.2, 1.0, 120), cosine.map_or(f64::NAN, f64::from));
        rows.push(PairScore { image, cosine });
    }
    out.table("scores", &rows)?;
    Ok(out)
}
