//! Models that lie in a bucket: each is fetched once, and what is wrong with one is said in a sentence.

use std::fs::{self, File};

use realsyn_dataset::store::{Credentials, StoreOptions};
use realsyn_e2e::S3Server;
use realsyn_models::folder_sha256;
use realsyn_worker::run::{ModelError, ModelRef, Models, Server};

#[test]
fn a_model_in_a_bucket_is_fetched_once_or_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = S3Server::start(folder.path()).unwrap();
    let bucket = folder.path().join(S3Server::BUCKET);
    let small = bucket.join("models/small");
    fs::create_dir_all(small.join("weights")).unwrap();
    fs::write(small.join("config.json"), "{}").unwrap();
    fs::write(small.join("weights/part"), vec![7; 20 << 20]).unwrap();
    fs::create_dir(bucket.join("models/large")).unwrap();
    File::create(bucket.join("models/large/weights")).unwrap().set_len((1 << 30) + 1).unwrap();
    fs::create_dir(bucket.join("models/nearly")).unwrap();
    File::create(bucket.join("models/nearly/weights")).unwrap().set_len((1 << 30) - 1).unwrap();
    let sha256 = folder_sha256(&small).unwrap();

    let stores = StoreOptions {
        endpoint: Some(server.endpoint()),
        credentials: Credentials::Static {
            access_key: S3Server::ACCESS_KEY.into(),
            secret_key: S3Server::SECRET_KEY.into(),
            session_token: None,
        },
        ..StoreOptions::default()
    };
    let model = |uri: &str, sha256: &str| {
        let uri = Some(format!("s3://{}/{uri}", S3Server::BUCKET));
        ModelRef { sha256: sha256.to_owned(), uri }
    };
    let all = |models: &[(&str, ModelRef)]| {
        let models = models.iter().map(|(role, model)| ((*role).to_owned(), model.clone()));
        Models::new(None, models.collect(), Server::default(), stores.clone())
    };
    let models = |uri: &str, sha256: &str| all(&[("perplexity", model(uri, sha256))]);
    for (uri, sha256, said) in [
        ("models/small", "0".repeat(64), format!("has sha256 {sha256}, and the build names 0000")),
        ("models/none", sha256.clone(), "holds no file: correct the address".to_owned()),
        ("models/large", sha256.clone(), "holds more than 1073741824 bytes".to_owned()),
    ] {
        let error = models(uri, &sha256).check().unwrap_err();
        assert!(matches!(error, ModelError::Unfetchable { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("models.perplexity: s3://bucket/{uri} {said}")), "{error}");
    }

    // What would fit alone does not beside what was fetched before.
    let both = [("clip", model("models/small", &sha256)), ("perplexity", model("models/nearly", &"0".repeat(64)))];
    let error = all(&both).check().unwrap_err().to_string();
    assert!(
        error.contains("models/nearly holds more than 1052770302 bytes beside 20971522 of other models"),
        "{error}"
    );

    let fetched = models("models/small", &sha256);
    fetched.check().unwrap();
    server.kill().unwrap();
    let error = models("models/small", &sha256).check().unwrap_err();
    assert!(
        matches!(error, ModelError::NotFetched { .. }),
        "a store that is away is no fault of the settings: {error:?}"
    );
    // It is no model, but it is there.
    let Err(error) = fetched.scorer(false) else { panic!("nothing is a model") };
    assert!(matches!(error, ModelError::Unusable { .. }) && error.to_string().contains("realsyn-model-"), "{error}");
}
