//! An S3 server that keeps its buckets in a folder, for tests: `s3-server --port 0 DIR`.
//!
//! `s3s-fs` looks whether a name is free and writes it later, so of two conditional puts at once both may succeed. Here
//! they wait for each other: a put with a condition holds a lock on its key until it is done. A request that has begun
//! is carried out even if its client leaves, since otherwise the lock would be let go before the file has its name.
//!
//! It also makes the bucket that a put names; here a bucket that is no folder is refused, as every real store does.
//!
//! Prints one line of JSON, `{"port": …}`, when it listens. With `--attached` it ends when its standard input does, so
//! it never outlives the test that started it.

#![forbid(unsafe_code)]

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use hyper::body::Incoming;
use hyper::header::IF_NONE_MATCH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// An S3 server over a folder, for tests.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    address: std::net::IpAddr,
    /// Port; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Access key; without keys requests must come unsigned.
    #[arg(long, requires = "secret_key")]
    access_key: Option<String>,
    /// Secret key.
    #[arg(long, requires = "access_key")]
    secret_key: Option<String>,
    /// End when the standard input ends.
    #[arg(long)]
    attached: bool,
    /// Folder of the buckets.
    dir: PathBuf,
}

/// Locks for conditional puts; which one is the hash of the path.
type Locks = Arc<[Mutex<()>; 64]>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let files = FileSystem::new(&arguments.dir)
        .map_err(|error| anyhow::anyhow!("cannot serve {}: {error:?}", arguments.dir.display()))?;
    let mut builder = S3ServiceBuilder::new(files);
    if let (Some(access), Some(secret)) = (arguments.access_key, arguments.secret_key) {
        builder.set_auth(SimpleAuth::from_single(access, secret));
    }
    let service = builder.build();
    let locks: Locks = Arc::new(std::array::from_fn(|_| Mutex::new(())));
    let dir: Arc<Path> = arguments.dir.into();
    let listener = TcpListener::bind((arguments.address, arguments.port)).await?;
    println!("{}", serde_json::json!({ "port": listener.local_addr()?.port() }));
    if arguments.attached {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    loop {
        let (socket, _) = listener.accept().await?;
        let (service, locks, dir) = (service.clone(), Arc::clone(&locks), Arc::clone(&dir));
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let refused = no_such_bucket(&dir, &request);
                let handled = handle(service.clone(), Arc::clone(&locks), request);
                async { if let Some(refused) = refused { Ok(refused) } else { handled.await } }
            });
            // A client that breaks off is no concern of the server.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

/// The refusal of a request for a bucket that is not there.
fn no_such_bucket(dir: &Path, request: &Request<Incoming>) -> Option<Response<s3s::Body>> {
    let bucket = request.uri().path().split('/').nth(1).filter(|bucket| !bucket.is_empty())?;
    if dir.join(bucket).is_dir() {
        return None;
    }
    let text = format!("<Error><Code>NoSuchBucket</Code><BucketName>{bucket}</BucketName></Error>");
    let mut refused = Response::new(s3s::Body::from(text));
    *refused.status_mut() = StatusCode::NOT_FOUND;
    Some(refused)
}

async fn handle(service: S3Service, locks: Locks, request: Request<Incoming>) -> anyhow::Result<Response<s3s::Body>> {
    let carried_out = tokio::spawn(async move {
        let conditional = request.method() == Method::PUT && request.headers().contains_key(IF_NONE_MATCH);
        let mut hasher = DefaultHasher::new();
        request.uri().path().hash(&mut hasher);
        let lock = &locks[hasher.finish() as usize % locks.len()];
        let _held = if conditional { Some(lock.lock().await) } else { None };
        service.call(request.map(s3s::Body::from)).await
    });
    carried_out.await?.map_err(|error| anyhow::anyhow!("{error:?}"))
}
