//! From files and flags to a run: reads the manifests, opens the stores, pins the inventory, computes the digests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use realsyn_crds::{
    BuildSpec, Engine, Kind, Manifest, Metadata, RealSynBuild, RealSynRelease, Stage, TextSurface, device,
    parse_manifests, release_settings, take_giver, validate, validate_release, validate_sentences,
};
use realsyn_dataset::protocol::{Ledger, Reference, owner_uid};
use realsyn_dataset::store::{Credentials, Store, StoreOptions, check_conditional, open};
use realsyn_plan::Digest;
use realsyn_plan::layout::{Inventory, Seals};
use realsyn_plan::placement::VECTORS;
use realsyn_plan::recipe::{Recipes, inventory_digest};
use realsyn_vectors::{CAPABILITY, Error as VectorsError, gpus};

use crate::borrowed::Sentences;
use crate::run::{Gpus, Lists, Mirrors, ModelRef, Models, ReleaseRun, Run, Server, Source, StageError, resolve};

// What placement looks for is what the kernels need.
const _: () = assert!(VECTORS.0 == CAPABILITY.0 as u32 && VECTORS.1 == CAPABILITY.1 as u32);

/// For how long a language model's server may leave a question unanswered, if nothing is said.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where things are, in place of what the files say.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Locations {
    /// A file with RealSynBuild and RealSynRelease documents; may be given more than once
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The folder or store prefix in which the build keeps everything, in place of `spec.storage.uri`
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,
    /// The documents, in place of `spec.source.uri`
    #[arg(long, value_name = "URI")]
    pub source: Option<String>,
    /// The folder with one folder per model, found by their sha256
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// A place for images, in place of what `spec.source.imageMirrors` says of the same prefix
    #[arg(long, value_name = "PREFIX=URI")]
    pub mirror: Vec<String>,
    /// Address of the S3 service
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region of the bucket
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    /// The server of the language model, where `spec.stages.generate.engine` is `cuda`: `http://127.0.0.1:8000/v1`
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// For how long a language model's server may leave a question unanswered [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub patience: Option<u64>,
}

/// What only a change of the files or flags can put right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// A build and its releases, as read from files.
#[derive(Clone, Debug)]
pub struct Manifests {
    /// The build.
    pub build: RealSynBuild,
    /// The build whose sentences it takes.
    pub sentences: Option<RealSynBuild>,
    /// Releases of it.
    pub releases: Vec<RealSynRelease>,
    /// The folder of the first file: relative URIs start there.
    pub base: PathBuf,
}

/// Reads and validates the files. Every problem is listed with its file, field and value.
pub fn read_manifests(files: &[PathBuf]) -> anyhow::Result<Manifests> {
    let (mut builds, mut releases, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        match parse_manifests(&text, &name) {
            Ok(manifests) => {
                for manifest in manifests {
                    match manifest {
                        Manifest::Build(build) => {
                            problems.extend(validate(&build).iter().map(|p| format!("{name}: {p}")));
                            builds.push(*build);
                        }
                        Manifest::Release(release) => releases.push((name.clone(), *release)),
                    }
                }
            }
            Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        }
    }
    let sentences = take_giver(&mut builds);
    if let (Some(build), Some(giver)) = (builds.first(), &sentences) {
        problems.extend(validate_sentences(build, giver).iter().map(ToString::to_string));
        // Its file may hold releases of it, which are none of ours.
        releases.retain(|(_, release)| release.spec.build_ref.name != giver.metadata.name);
    }
    for (name, release) in &releases {
        problems.extend(validate_release(release, builds.first()).iter().map(|p| format!("{name}: {p}")));
    }
    if !problems.is_empty() {
        return Err(SettingsError(problems.join("\n")).into());
    }
    let releases: Vec<RealSynRelease> = releases.into_iter().map(|(_, release)| release).collect();
    let [build] = <[RealSynBuild; 1]>::try_from(builds).map_err(|found| {
        anyhow::anyhow!("exactly one RealSynBuild is needed in the files given, found {}", found.len())
    })?;
    if let Some(stray) = releases.iter().find(|r| r.spec.build_ref.name != build.metadata.name) {
        bail!(
            "release {}: spec.buildRef.name is `{}`, but the build is called `{}`",
            stray.metadata.name,
            stray.spec.build_ref.name,
            build.metadata.name
        );
    }
    let base = files[0].parent().unwrap_or(Path::new("")).to_owned();
    Ok(Manifests { build, sentences, releases, base })
}

/// A build with its stores open.
pub struct Session {
    /// The manifests.
    pub manifests: Manifests,
    /// The build's settings, profile defaults filled in.
    pub spec: BuildSpec,
    /// Records below the output's root.
    pub ledger: Ledger,
    /// The output's URI.
    pub out: String,
    options: StoreOptions,
    source: Source,
    mirrors: Mirrors,
    models_folder: Option<PathBuf>,
    server: Server,
}

impl Session {
    /// Opens everything; reads no document yet.
    pub fn open(locations: &Locations) -> anyhow::Result<Self> {
        Self::of(read_manifests(&locations.files)?, locations)
    }

    /// The build whose sentences this one takes, if it takes some and they are not all made.
    pub fn unmade_sentences(&self) -> anyhow::Result<Option<RealSynBuild>> {
        let Some(build) = self.manifests.sentences.as_ref() else { return Ok(None) };
        match Sentences::find(&self.ledger, build).and_then(|found| found.seals(&self.ledger)) {
            Err(error) if error.is::<SettingsError>() => Ok(Some(build.clone())),
            made => made.map(|_| None),
        }
    }

    /// A session of the build whose sentences this one takes. The flags that say where source and images lie are about this one.
    pub fn of_giver(&self, build: RealSynBuild, locations: &Locations) -> anyhow::Result<Self> {
        let name = build.metadata.name.clone();
        let manifests = Manifests { build, sentences: None, releases: Vec::new(), base: self.manifests.base.clone() };
        let out = Some(self.out.clone());
        let locations = Locations { out, source: None, mirror: Vec::new(), ..locations.clone() };
        Self::of(manifests, &locations).with_context(|| format!("build {name}, whose sentences are taken"))
    }

    fn of(manifests: Manifests, locations: &Locations) -> anyhow::Result<Self> {
        if let (Some(from), None) = (&manifests.build.spec.sentences_from, &manifests.sentences) {
            let message = format!(
                "build {}: spec.sentencesFrom.build: the files hold no build `{}`; give the file of it, too",
                manifests.build.metadata.name, from.build
            );
            return Err(SettingsError(message).into());
        }
        let mut spec = manifests.build.spec.effective();
        let options = StoreOptions {
            create: false,
            endpoint: locations.endpoint.clone().or_else(|| spec.storage.endpoint.clone()),
            region: locations.region.clone().or_else(|| spec.storage.region.clone()),
            ..StoreOptions::default()
        };
        for mirror in &locations.mirror {
            let (prefix, uri) =
                mirror.split_once('=').with_context(|| format!("--mirror {mirror}: write PREFIX=URI"))?;
            let known = spec.source.image_mirrors.iter_mut().find(|m| m.prefix == prefix);
            let known = known.with_context(|| {
                format!(
                    "--mirror {mirror}: spec.source.imageMirrors has no prefix `{prefix}`; add it to the build first"
                )
            })?;
            known.uri = std::path::absolute(uri).map_or_else(
                |_| uri.to_owned(),
                |p| if uri.contains("://") { uri.to_owned() } else { p.display().to_string() },
            );
        }
        let base = &manifests.base;
        let source_uri = locations.source.clone().unwrap_or_else(|| resolve(base, &spec.source.uri));
        let source = Source {
            format: spec.source.format,
            store: open(&source_uri, &options).with_context(|| format!("spec.source.uri: {source_uri}"))?,
        };
        let mirrors = Mirrors::open(&source, &spec.source.image_mirrors, |uri| open(&resolve(base, uri), &options))
            .context("spec.source.imageMirrors")?;
        let out = locations.out.clone().unwrap_or_else(|| resolve(base, &spec.storage.uri));
        let store = open(&out, &StoreOptions { create: true, ..options.clone() })
            .with_context(|| format!("spec.storage.uri: {out}"))?;
        Ok(Self {
            spec,
            ledger: Ledger::new(store),
            out,
            options,
            source,
            mirrors,
            models_folder: locations.models.clone(),
            server: Server {
                address: locations.server.clone(),
                patience: locations.patience.map_or(PATIENCE, Duration::from_secs),
            },
            manifests,
        })
    }

    /// Stops with a sentence if a stage asks for an engine that this worker does not have: what the processor computed must
    /// not be taken for the work of another. `here` are the stages that this process will run itself: for `generate` on GPUs
    /// it needs a server beside it, for what compares vectors the GPUs themselves.
    pub fn check_engines(&self, here: impl Fn(Stage) -> bool) -> anyhow::Result<()> {
        let word = |engine: Engine| serde_json::to_value(engine).unwrap_or_default();
        let asked = || Stage::ALL.iter().filter_map(|stage| Some((*stage, device(&self.spec, *stage)?.engine)));
        let named = |stage: Stage| {
            format!("build {}: spec.stages.{}.engine", self.manifests.build.metadata.name, stage.field())
        };
        let lacking = asked().filter_map(|(stage, engine)| {
            let fix = lacks(stage, engine, self.server.address.is_some() || !here(stage))?;
            Some(format!("{}: this worker has no {}; {fix}", named(stage), word(engine)))
        });
        let problems: Vec<String> = lacking.collect();
        if !problems.is_empty() {
            return Err(SettingsError(problems.join("\n")).into());
        }
        let on_gpus =
            asked().find(|(stage, engine)| *engine == Engine::Cuda && stage.compares_vectors() && here(*stage));
        match on_gpus.map(|(stage, _)| (stage, gpus())) {
            Some((stage, Err(error @ VectorsError::TooOld { .. }))) => {
                let at = format!("spec.stages.{}.gpu.products", stage.field());
                let problem = format!("{}: {error}; name newer ones in {at}, or write cpu", named(stage));
                Err(SettingsError(problem).into())
            }
            // What a pod was promised and does not find is not the settings' fault.
            Some((stage, Err(error))) if Gpus::of_environment().is_some() => {
                Err(StageError::Gpu(format!("{}: {error}", named(stage))).into())
            }
            Some((stage, Err(error))) => {
                let problem = format!("{}: {error}; run it where there is one, or write cpu", named(stage));
                Err(SettingsError(problem).into())
            }
            Some((_, Ok(found))) => {
                for gpu in found {
                    tracing::info!(gpu = gpu.uuid, product = gpu.name, memory = gpu.memory, "vectors are compared on");
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Stops with a sentence if the store does not refuse a second conditional put.
    pub fn check_store(&self) -> anyhow::Result<()> {
        Ok(check_conditional(self.ledger.store().as_ref())?)
    }

    /// The pinned inventory; lists the source if there is none, or if `again`. Returns whether it listed.
    pub fn inventory(&self, again: bool) -> anyhow::Result<(Inventory, bool)> {
        let name = inventory_digest(&self.spec);
        if !again && let Some(pinned) = self.ledger.inventories(&name)?.current() {
            return Ok((self.previewed(pinned.clone()), false));
        }
        let listed = self.source.list()?;
        if listed.shards.is_empty() {
            bail!(
                "the source {} holds no file of format `{}`: correct spec.source.uri or spec.source.format",
                self.source.store.describe(),
                self.source.format.name()
            );
        }
        Ok((self.previewed(self.ledger.write_inventory(&name, &listed)?), true))
    }

    /// The source as it is now; pins nothing.
    pub fn list(&self) -> anyhow::Result<Inventory> {
        Ok(self.previewed(self.source.list()?))
    }

    /// The part of the inventory that `spec.preview` asks for.
    fn previewed(&self, inventory: Inventory) -> Inventory {
        match &self.spec.preview {
            Some(preview) => inventory.sample(preview),
            None => inventory,
        }
    }

    /// The models of the stages that run, none of them loaded.
    pub(crate) fn models(&self) -> Models {
        let mut named = BTreeMap::new();
        for (role, model) in self.spec.models.named().filter(|(role, _)| self.spec.uses_model(role)) {
            let uri = model.uri.as_ref().map(|uri| resolve(&self.manifests.base, uri));
            named.insert(role.to_owned(), ModelRef { sha256: model.sha256.clone(), uri });
        }
        let surface = self.spec.uses_model("clip")
            && self.manifests.releases.iter().any(|r| r.spec.text_surface == TextSurface::ClipRoundtrip);
        Models::new(self.models_folder.clone(), named, self.server.clone(), self.options.clone())
            .with_surface(surface)
            .with_opened(self.opened())
    }

    /// A run of the build, and of one of its releases if it is given.
    pub fn run(&self, inventory: Inventory, release: Option<&RealSynRelease>) -> anyhow::Result<Run> {
        let sentences = self.manifests.sentences.as_ref();
        let sentences = sentences.map(|build| Sentences::find(&self.ledger, build)).transpose()?;
        let others = sentences.as_ref().map(|s| &s.recipes);
        let recipes = |settings| Recipes::with_sentences(&self.spec, settings, &inventory.root(), others);
        let (recipes, release) = match release {
            None => (recipes(None), None),
            Some(release) => {
                let spec = release.spec.effective(self.spec.profile);
                let recipes = recipes(Some(release_settings(&self.spec, &spec)));
                let digest = recipes.stage_digest(Stage::Release).expect("the plan has a release");
                let destination = destination(&self.manifests, release, &self.out, &digest, &self.options)?;
                (recipes, Some(ReleaseRun { name: release.metadata.name.clone(), spec, destination }))
            }
        };
        Ok(Run {
            ledger: self.ledger.clone(),
            source: self.source.clone(),
            mirrors: self.mirrors.clone(),
            build: self.spec.clone(),
            release,
            inventory,
            recipes,
            models: self.models(),
            lists: self.lists(),
            sentences,
            seals: Seals::new(),
            commits: Default::default(),
        })
    }

    /// Reads the lists that settings point to.
    pub(crate) fn lists(&self) -> Lists {
        Lists { base: self.manifests.base.clone(), options: self.options.clone() }
    }

    /// The place that a release names itself.
    pub(crate) fn named_destination(&self, release: &RealSynRelease) -> anyhow::Result<Arc<dyn Store>> {
        let uri = release.spec.destination.uri.as_ref().context("the release names no destination")?;
        open_destination(&resolve(&self.manifests.base, uri), release, &self.options)
    }

    /// Writes what the run is going to use, before it uses it. Returns the earlier reference if it differs.
    pub fn refer(&self, run: &Run) -> anyhow::Result<Option<Reference>> {
        let (uid, reference) = self.reference(run);
        Ok(self.ledger.refer(&uid, &reference)?)
    }

    /// The id under which a run's reference lies, and the reference.
    pub fn reference(&self, run: &Run) -> (String, Reference) {
        let build = &self.manifests.build.metadata;
        let release = run.release.as_ref().map(|of_run| {
            let release = self.manifests.releases.iter().find(|r| r.metadata.name == of_run.name);
            &release.expect("a run is of a release in the files").metadata
        });
        let kind = if release.is_some() { Kind::Release } else { Kind::Build };
        let reference = Reference {
            kind: kind.name().to_owned(),
            owner: format!("{}/{}", namespace(build), release.unwrap_or(build).name),
            inventory_root: run.inventory.root(),
            recipes: run.recipes.clone(),
            history: if run.release.is_some() { 1 } else { self.spec.storage.history },
            gone: false,
        };
        (reference_id(build, release), reference)
    }
}

/// The id under which the reference of a build, or of a release of it, lies.
pub(crate) fn reference_id(build: &Metadata, release: Option<&Metadata>) -> String {
    let kind = if release.is_some() { Kind::Release } else { Kind::Build };
    let owner = release.unwrap_or(build);
    owner_uid(kind.name(), namespace(build), &owner.name, owner.uid.as_deref())
}

fn namespace(build: &Metadata) -> &str {
    build.namespace.as_deref().unwrap_or("default")
}

/// Where a release goes. Below the output it gets a folder named by its digest, so that a changed band makes a second
/// release instead of colliding with the first.
pub(crate) fn destination(
    manifests: &Manifests,
    release: &RealSynRelease,
    out: &str,
    digest: &Digest,
    storage: &StoreOptions,
) -> anyhow::Result<Arc<dyn Store>> {
    let to = &release.spec.destination;
    let uri = match &to.uri {
        Some(uri) => resolve(&manifests.base, uri),
        None => format!("{}/releases/{}-{}", out.trim_end_matches('/'), release.metadata.name, digest.short()),
    };
    open_destination(&uri, release, storage)
}

fn open_destination(uri: &str, release: &RealSynRelease, storage: &StoreOptions) -> anyhow::Result<Arc<dyn Store>> {
    let to = &release.spec.destination;
    let mut options = StoreOptions { create: true, ..storage.clone() };
    options.endpoint = to.endpoint.clone().or(options.endpoint);
    options.region = to.region.clone().or(options.region);
    if to.credentials.is_some() {
        options.credentials = destination_keys(|name| std::env::var(name).ok());
    }
    open(uri, &options).with_context(|| format!("release {}: spec.destination: {uri}", release.metadata.name))
}

/// The keys of a destination of its own: the variables of the storage's keys with `DESTINATION_` before them. Without
/// them it is asked as the storage is.
fn destination_keys(variable: impl Fn(&str) -> Option<String>) -> Credentials {
    match (variable("DESTINATION_AWS_ACCESS_KEY_ID"), variable("DESTINATION_AWS_SECRET_ACCESS_KEY")) {
        (Some(access_key), Some(secret_key)) => {
            Credentials::Static { access_key, secret_key, session_token: variable("DESTINATION_AWS_SESSION_TOKEN") }
        }
        _ => Credentials::Default,
    }
}

/// What to do where this worker cannot compute a stage on an engine; `None` where it can. `served` says whether a language
/// model's server stands beside it, or will where the stage runs.
fn lacks(stage: Stage, engine: Engine, served: bool) -> Option<&'static str> {
    match (stage, engine) {
        (_, Engine::Cpu) | (Stage::Generate, Engine::Openai) => None,
        (Stage::Generate, Engine::Cuda) if served => None,
        (Stage::Generate, Engine::Cuda) => Some("start a server beside it and name it with --server, or write cpu"),
        (stage, Engine::Cuda) if stage.compares_vectors() => None,
        _ => Some("write cpu"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The builds in the files below a folder.
    fn builds(folder: &Path) -> Vec<RealSynBuild> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(builds(&path));
            } else if let Ok(text) = std::fs::read_to_string(&path)
                && text.lines().any(|line| line == "kind: RealSynBuild")
            {
                let manifests =
                    parse_manifests(&text, &path.display().to_string()).unwrap_or_else(|p| panic!("{p:#?}"));
                found.extend(manifests.into_iter().filter_map(|manifest| match manifest {
                    Manifest::Build(build) => Some(*build),
                    Manifest::Release(_) => None,
                }));
            }
        }
        found
    }

    #[test]
    fn every_engine_that_an_example_names_is_one_of_this_worker() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
        let builds: Vec<_> =
            ["examples", "gitops/datasets"].iter().flat_map(|folder| builds(&root.join(folder))).collect();
        assert!(builds.len() >= 3, "{builds:?}");
        let mut on_gpus = 0;
        for build in &builds {
            assert_eq!(validate(build), [], "{}", build.metadata.name);
            for stage in Stage::ALL {
                let Some(engine) = device(&build.spec, *stage).map(|device| device.engine) else { continue };
                assert_eq!(lacks(*stage, engine, true), None, "{}: {}", build.metadata.name, stage.field());
                on_gpus += usize::from(engine == Engine::Cuda);
            }
        }
        assert!(on_gpus > 0, "no example shows GPUs");
    }

    #[test]
    fn what_the_settings_allow_on_gpus_is_what_this_worker_has() {
        let build = builds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/examples")).remove(0);
        for stage in Stage::ALL.iter().filter(|stage| device(&build.spec, **stage).is_some()) {
            assert_eq!(lacks(*stage, Engine::Cuda, true).is_none(), stage.has_cuda(), "{}", stage.field());
        }
    }

    #[test]
    fn a_destination_has_keys_of_its_own_only_if_both_halves_are_there() {
        let both = |name: &str| name.starts_with("DESTINATION_AWS_").then(|| name.to_lowercase());
        let Credentials::Static { access_key, secret_key, .. } = destination_keys(both) else { panic!("no keys") };
        assert_eq!(access_key, "destination_aws_access_key_id");
        assert_eq!(secret_key, "destination_aws_secret_access_key");
        let half = |name: &str| name.ends_with("KEY_ID").then(String::new);
        assert!(matches!(destination_keys(half), Credentials::Default));
    }
}
