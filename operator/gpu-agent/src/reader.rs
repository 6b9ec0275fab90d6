//! NVML in a thread of its own: a call that hangs stops nobody else, and who waits sees which call it is.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use tokio::sync::mpsc;

use crate::facts::{Driver, Facts};
use crate::observe::{Loaded, Session, is_gone, look, version};

/// Where things are.
#[derive(Clone, Debug)]
pub struct Options {
    /// The library.
    pub library: PathBuf,
    /// The kernel's tree of devices.
    pub sysfs: PathBuf,
}

/// What the thread is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look at everything.
    Look,
    /// Tell the XIDs since the last order.
    Events,
}

/// What the thread answers, once per order.
#[derive(Debug)]
pub enum Answer {
    /// What there is.
    Looked(Box<Facts>),
    /// The XIDs: index of the device, and number.
    Xids(Vec<(u32, u64)>),
}

/// The call that the thread is in.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Option<(&'static str, Instant)>>);

impl Progress {
    /// Runs a call under its name.
    pub fn during<T>(&self, call: &'static str, run: impl FnOnce() -> T) -> T {
        self.set(Some((call, Instant::now())));
        let result = run();
        self.set(None);
        result
    }

    /// The call that has not returned yet, and when it began.
    pub fn now(&self) -> Option<(&'static str, Instant)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, now: Option<(&'static str, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// The thread, as others see it. It ends when this is dropped, after the call that it is in.
pub struct Reader {
    orders: Sender<Order>,
    answers: mpsc::UnboundedReceiver<Answer>,
    progress: Arc<Progress>,
    busy: bool,
}

impl Reader {
    /// Starts the thread. It does nothing before the first order.
    pub fn start(options: Options) -> std::io::Result<Self> {
        let (orders, take) = channel();
        let (give, answers) = mpsc::unbounded_channel();
        let progress = Arc::new(Progress::default());
        let thread = Thread { options, orders: take, answers: give, progress: progress.clone() };
        thread::Builder::new().name("nvml".to_owned()).spawn(move || thread.run())?;
        Ok(Self { orders, answers, progress, busy: false })
    }

    /// Orders something, unless the last order is still being carried out.
    pub fn order(&mut self, order: Order) {
        if !self.busy {
            // A thread that is gone shows itself as no answer.
            self.busy = self.orders.send(order).is_ok();
        }
    }

    /// The next answer; none if the thread has died, which only a bug can do.
    pub async fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.recv().await;
        self.busy = false;
        answer
    }

    /// The call that has not returned yet, and when it began.
    pub fn progress(&self) -> Option<(&'static str, Instant)> {
        self.progress.now()
    }
}

struct Thread {
    options: Options,
    orders: Receiver<Order>,
    answers: mpsc::UnboundedSender<Answer>,
    progress: Arc<Progress>,
}

/// Why a session ended.
enum End {
    /// Nobody wants anything any more.
    Stop,
    /// The driver does not answer; the library is dropped, and loaded anew for the same order or the next one.
    Failed { gone: bool, look: bool },
}

impl Thread {
    fn run(self) {
        let mut load = 0;
        let mut last: Option<String> = None;
        let mut gone = true;
        let mut pending: Option<Order> = None;
        loop {
            let Some(order) = pending.take().or_else(|| self.orders.recv().ok()) else { return };
            if order == Order::Events {
                // Nothing is loaded, and loading is tried only as often as one looks.
                self.give(Answer::Xids(Vec::new()));
                continue;
            }
            let nvml = match self.open() {
                Ok(nvml) => nvml,
                Err(error) => {
                    gone = true;
                    let driver = Driver::Absent(self.why(&error));
                    self.give(Answer::Looked(Box::new(Facts { driver, ..Facts::default() })));
                    continue;
                }
            };
            let version = version(&nvml, &self.progress);
            let other = matches!((&last, &version), (Some(last), Some(version)) if last != version);
            load += u64::from(gone || other);
            last = version.clone().or(last);
            match self.session(&nvml, Loaded { number: load, version }) {
                End::Stop => return,
                End::Failed { gone: driver, look } => (gone, pending) = (driver, look.then_some(Order::Look)),
            }
            self.progress.during("nvmlShutdown", || drop(nvml));
        }
    }

    /// Serves orders, beginning with a look, until the driver fails.
    fn session(&self, nvml: &Nvml, loaded: Loaded) -> End {
        let mut session = Session::new(nvml, loaded);
        let mut order = Order::Look;
        let mut first = true;
        loop {
            match order {
                Order::Events => self.give(Answer::Xids(session.events(&self.progress))),
                Order::Look => {
                    let (facts, failure) = look(&mut session, &self.options.sysfs, &self.progress);
                    let gone = failure.as_ref().is_some_and(is_gone);
                    // A driver that has been loaded anew since the last look is looked at in the same order.
                    if gone && !first {
                        return End::Failed { gone, look: true };
                    }
                    self.give(Answer::Looked(Box::new(facts)));
                    if failure.is_some() {
                        return End::Failed { gone, look: false };
                    }
                }
            }
            first = false;
            let Ok(next) = self.orders.recv() else { return End::Stop };
            order = next;
        }
    }

    fn open(&self) -> Result<Nvml, NvmlError> {
        let library = self.options.library.as_os_str();
        self.progress.during("nvmlInit_v2", || Nvml::builder().lib_path(library).init())
    }

    fn why(&self, error: &NvmlError) -> String {
        let library = self.options.library.display();
        match error {
            NvmlError::LibloadingError(error) => format!("there is no NVIDIA driver here: {error}"),
            NvmlError::FailedToLoadSymbol(error) => format!("{library} is not NVML: {error}"),
            NvmlError::DriverNotLoaded => "the NVIDIA driver is not loaded".to_owned(),
            error => format!("nvmlInit_v2: {error}"),
        }
    }

    fn give(&self, answer: Answer) {
        // Who no longer listens has also dropped the orders' sender, which ends the thread.
        _ = self.answers.send(answer);
    }
}
