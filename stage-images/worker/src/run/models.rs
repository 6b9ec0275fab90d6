//! The models of a build: found by their sha256, checked before the first stage, loaded when first used.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use realsyn_dataset::store::{StoreOptions, folder_of};
use realsyn_models::{
    Captioner, ClipTokenizer, ConseEncoder, EfficientNet, Generator, ImageEncoder, LabelCaptioner, LabelTagger,
    LabelTaggerOptions, MiniLm, Scorer, SmolLm, SmolLmOptions, Tagger, TextEncoder, folder_sha256,
};

use super::fetched::Fetched;
use super::writer::Server;
use crate::chat::Chat;

/// A model that is not there, or is not what the build says.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No folder has the hash.
    #[error("models.{role}: no model with sha256 {sha256} was found ({found}); fetch it, or correct the hash")]
    NotFound {
        /// Field under `spec.models`.
        role: String,
        /// What was asked for.
        sha256: String,
        /// Where it was looked for, and the hashes of what is there.
        found: String,
    },
    /// The build names no such model.
    #[error("models.{0} is not set, and a stage needs it: name its `sha256`")]
    NotNamed(String),
    /// A release wants its texts as CLIP's tokenizer writes them, and the tokenizer is not there.
    #[error(
        "spec.textSurface: clipRoundtrip needs CLIP's merges, and {} of models.clip has none: put the merges.txt of the CLIP \
         model into that folder and correct the model's sha256, or write textSurface: raw", folder.display()
    )]
    NoMerges {
        /// The folder of `models.clip`.
        folder: PathBuf,
    },
    /// It is not fetched from a store.
    #[error("models.{role}: {uri} {why}")]
    Unfetchable {
        /// Field under `spec.models`.
        role: String,
        /// Where it was to be fetched from.
        uri: String,
        /// Why, and what to do.
        why: String,
    },
    /// It could not be fetched just now.
    #[error("models.{role}: it was not fetched")]
    NotFetched {
        /// Field under `spec.models`.
        role: String,
        /// What went wrong.
        source: anyhow::Error,
    },
    /// It cannot be read.
    #[error("models.{role}: {source}")]
    Unusable {
        /// Field under `spec.models`.
        role: String,
        /// Why.
        source: Box<realsyn_models::ModelError>,
    },
}

pub(super) fn unusable(role: &str) -> impl Fn(realsyn_models::ModelError) -> ModelError + '_ {
    move |source| ModelError::Unusable { role: role.to_owned(), source: Box::new(source) }
}

/// Which model a build names for a role, and where it may lie.
#[derive(Clone, Debug)]
pub struct ModelRef {
    /// Its folder's hash, as [`folder_sha256`] makes it.
    pub sha256: String,
    /// Its own folder, or the prefix of a store that holds it, if the build says where it is.
    pub uri: Option<String>,
}

/// The demonstration's dual encoder: MiniLM for texts (folder `text`), EfficientNet-Lite0 with ConSE for images (folder
/// `image`). Its labels also make captions and tags.
struct Clip {
    folder: PathBuf,
    text: Arc<MiniLm>,
    network: Arc<EfficientNet>,
    image: Arc<ConseEncoder>,
}

/// What a language model was loaded for: its role, whether texts begin with the end token, and its longest answer.
type LanguageKey = (&'static str, bool, usize);

/// What a tagger was made from: words, how many of them a picture may get, and the least cosine's bits.
type TaggerKey = (Vec<String>, usize, u32);

/// All models of a run.
pub struct Models {
    folder: Option<PathBuf>,
    named: BTreeMap<String, ModelRef>,
    fetched: Fetched,
    pub(super) server: Server,
    pub(super) chat: Mutex<Option<Arc<Chat>>>,
    hashes: OnceLock<Vec<(PathBuf, String)>>,
    checked: OnceLock<()>,
    surface: bool,
    opened: Vec<&'static str>,
    tokenizer: OnceLock<Arc<ClipTokenizer>>,
    clip: Mutex<Option<Arc<Clip>>>,
    language: Mutex<HashMap<LanguageKey, Arc<SmolLm>>>,
    tagger: Mutex<Option<(TaggerKey, Arc<LabelTagger>)>>,
}

impl Models {
    /// `folder` is searched, one level deep, for what `named` does not place itself; what then is still missing and lies in a
    /// store is fetched from there. `server` is asked where a stage says so.
    pub fn new(
        folder: Option<PathBuf>,
        named: BTreeMap<String, ModelRef>,
        server: Server,
        stores: StoreOptions,
    ) -> Self {
        Self {
            folder,
            named,
            fetched: Fetched::new(stores),
            server,
            chat: Mutex::default(),
            hashes: OnceLock::new(),
            checked: OnceLock::new(),
            surface: false,
            opened: Vec::new(),
            tokenizer: OnceLock::new(),
            clip: Mutex::default(),
            language: Mutex::default(),
            tagger: Mutex::default(),
        }
    }

    /// Says whether a release will ask for [`Self::clip_tokenizer`].
    pub fn with_surface(self, surface: bool) -> Self {
        Self { surface, ..self }
    }

    /// Says which roles' models this process will load itself.
    pub fn with_opened(self, opened: Vec<&'static str>) -> Self {
        Self { opened, ..self }
    }

    /// Finds every named model and compares its hash, once; finds CLIP's merges, if a release asks for them; and sees that
    /// the models which this process will load have the tensors that they need, without reading a language model's weights.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.checked.get().is_none() {
            self.named.keys().try_for_each(|role| self.find(role).map(drop))?;
            if self.surface {
                self.clip_tokenizer()?;
            }
            for &role in &self.opened {
                match role {
                    // Small, and in use from the first embedding to the last score.
                    "clip" => self.captioner().map(drop)?,
                    language => SmolLm::check(&self.find(language)?).map_err(unusable(language))?,
                }
            }
            self.checked.get_or_init(|| ());
        }
        Ok(())
    }

    pub(super) fn find(&self, role: &str) -> Result<PathBuf, ModelError> {
        let model = self.named.get(role).ok_or_else(|| ModelError::NotNamed(role.to_owned()))?;
        let mut found = Vec::new();
        let has = |path: &Path, hash: &str| format!("{} has sha256 {hash}", path.display());
        if let Some(folder) = model.uri.as_deref().and_then(folder_of) {
            if folder.is_dir() {
                let hash = folder_sha256(&folder).map_err(unusable(role))?;
                if hash == model.sha256 {
                    return Ok(folder);
                }
                found.push(has(&folder, &hash));
            } else {
                found.push(format!("{} is no folder", folder.display()));
            }
        }
        let hashes = self.hashes(role)?;
        if let Some((path, _)) = hashes.iter().find(|(_, hash)| *hash == model.sha256) {
            return Ok(path.clone());
        }
        if let Some(uri) = model.uri.as_deref().filter(|uri| folder_of(uri).is_none()) {
            return self.fetched.folder(role, uri, &model.sha256);
        }
        found.extend(hashes.iter().map(|(path, hash)| has(path, hash)));
        match &self.folder {
            Some(folder) if hashes.is_empty() => found.push(format!("{} holds no folder", folder.display())),
            None if found.is_empty() => found.push("neither --models nor its `uri` says where to look".into()),
            _ => {}
        }
        Err(ModelError::NotFound { role: role.to_owned(), sha256: model.sha256.clone(), found: found.join(", ") })
    }

    fn hashes(&self, role: &str) -> Result<&[(PathBuf, String)], ModelError> {
        if let Some(hashes) = self.hashes.get() {
            return Ok(hashes);
        }
        let folders = self.folder.as_deref().map(folders).unwrap_or_default();
        let hashes = folders
            .into_iter()
            .map(|f| folder_sha256(&f).map(|hash| (f, hash)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unusable(role))?;
        Ok(self.hashes.get_or_init(|| hashes))
    }

    fn clip(&self) -> Result<Arc<Clip>, ModelError> {
        let mut loaded = self.clip.lock().expect("no holder panics");
        if let Some(clip) = &*loaded {
            return Ok(clip.clone());
        }
        let folder = self.find("clip")?;
        let load = || -> Result<Clip, realsyn_models::ModelError> {
            let text = Arc::new(MiniLm::load(&folder.join("text"))?);
            let network = Arc::new(EfficientNet::load(&folder.join("image"), &std::env::temp_dir())?);
            let image = Arc::new(ConseEncoder::load(&folder.join("image"), network.clone(), text.as_ref())?);
            Ok(Clip { folder: folder.clone(), text, network, image })
        };
        let clip = Arc::new(load().map_err(unusable("clip"))?);
        *loaded = Some(clip.clone());
        Ok(clip)
    }

    fn language(&self, role: &'static str, options: SmolLmOptions) -> Result<Arc<SmolLm>, ModelError> {
        let mut loaded = self.language.lock().expect("no holder panics");
        let key = (role, options.prepend_eos, options.max_new_tokens);
        if let Some(model) = loaded.get(&key) {
            return Ok(model.clone());
        }
        let model = SmolLm::load(&self.find(role)?, options).map_err(unusable(role))?;
        // One language model at a time: a run scores first and generates later, and weights are large.
        loaded.clear();
        Ok(loaded.entry(key).or_insert(Arc::new(model)).clone())
    }

    /// The tokenizer of the model `clip`, by the merges in its folder.
    pub fn clip_tokenizer(&self) -> Result<Arc<ClipTokenizer>, ModelError> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer.clone());
        }
        let folder = self.find("clip")?;
        let file = ClipTokenizer::file(&folder).ok_or(ModelError::NoMerges { folder })?;
        let tokenizer = Arc::new(ClipTokenizer::load(&file).map_err(unusable("clip"))?);
        Ok(self.tokenizer.get_or_init(|| tokenizer).clone())
    }

    /// Texts to the shared space.
    pub fn text_encoder(&self) -> Result<Arc<dyn TextEncoder>, ModelError> {
        Ok(self.clip()?.text.clone())
    }

    /// Images to the shared and the visual space.
    pub fn image_encoder(&self) -> Result<Arc<dyn ImageEncoder>, ModelError> {
        Ok(self.clip()?.image.clone())
    }

    /// The perplexity model.
    pub fn scorer(&self, prepend_eos: bool) -> Result<Arc<dyn Scorer>, ModelError> {
        Ok(self.language("perplexity", SmolLmOptions { prepend_eos, ..SmolLmOptions::default() })?)
    }

    /// The language model that writes synthetic texts.
    pub fn generator(&self, max_new_tokens: usize) -> Result<Arc<dyn Generator>, ModelError> {
        Ok(self.language("llm", SmolLmOptions { max_new_tokens, ..SmolLmOptions::default() })?)
    }

    /// The captioner: `clip` plays it.
    pub fn captioner(&self) -> Result<Arc<dyn Captioner>, ModelError> {
        let clip = self.clip()?;
        let captioner =
            LabelCaptioner::load(&clip.folder.join("image"), clip.network.clone()).map_err(unusable("clip"))?;
        Ok(Arc::new(captioner))
    }

    /// The tagger, extended by a vocabulary: `clip` plays it.
    pub fn tagger(&self, vocabulary: &[&str], settings: &realsyn_crds::Tag) -> Result<Arc<dyn Tagger>, ModelError> {
        let clip = self.clip()?;
        let mut options = LabelTaggerOptions { max_nouns: settings.max_tags as usize, ..LabelTaggerOptions::default() };
        if let Some(threshold) = settings.threshold {
            options.min_cosine = threshold as f32;
        }
        // Every shard asks for the same one, and embedding thousands of words takes longer than tagging a shard.
        let key: TaggerKey =
            (vocabulary.iter().map(|w| (*w).to_owned()).collect(), options.max_nouns, options.min_cosine.to_bits());
        let mut made = self.tagger.lock().expect("no holder panics");
        if let Some((of, tagger)) = &*made
            && *of == key
        {
            return Ok(tagger.clone());
        }
        let tagger =
            LabelTagger::new(clip.image.clone(), clip.text.as_ref(), vocabulary, options).map_err(unusable("clip"))?;
        let tagger = Arc::new(tagger);
        *made = Some((key, tagger.clone()));
        Ok(tagger)
    }

    /// The labels that the tagger knows without a vocabulary, in lower case.
    pub fn tagger_labels(&self) -> Result<HashSet<String>, ModelError> {
        Ok(self.clip()?.image.labels().iter().map(|l| l.to_lowercase()).collect())
    }
}

/// The folders directly below `path`, in name order.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}
