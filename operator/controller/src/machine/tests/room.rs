//! How many pods the Jobs have, and what becomes of it when somebody else says otherwise.

use super::*;

impl Bench {
    /// Its Job as it is seen.
    fn job(&mut self) -> &mut SeenJob {
        let name = self.score_job();
        self.jobs.iter_mut().find(|job| job.name == name).expect("the Job that scores")
    }

    /// A build whose step with four tasks began in a namespace with room for so many pods.
    fn in_room_for(pods: u32) -> Self {
        let mut bench = Self::new();
        bench.room = pods;
        bench.settle();
        bench.report(report(&["documents/extract"], &[ready("sentence-score/score", 4, 1)]));
        bench.settle();
        bench
    }

    /// Why the step that scores waits.
    fn waits(&self) -> Option<&str> {
        self.state.stage(Stage::SentenceScore).unwrap().waits_for.as_deref()
    }
}

#[test]
fn a_step_that_began_in_a_full_namespace_gets_more_pods_when_there_is_room() {
    let mut bench = Bench::in_room_for(1);
    assert_eq!((bench.job().granted, bench.job().parallelism), (1, 4));
    let why = "1 of 4 pods run: the namespace has no room for more (--max-pods)";
    assert_eq!(bench.waits(), Some(why));
    assert_eq!(bench.condition("Reconciling").2, format!("sentence-score: {why}"));
    assert_eq!(bench.settle(), [], "there is no room");
    // Nobody tells that others have ended.
    let again = bench.wakes().expect("it looks again by itself");
    assert!(again > bench.now && again <= bench.now + SignedDuration::from_secs(30), "{again}");

    bench.room = 3;
    let made = bench.settle();
    assert!(matches!(made[..], [Action::Run { asked: 4, granted: 3, .. }]), "{made:?}");
    assert_eq!(bench.waits(), Some("3 of 4 pods run: the namespace has no room for more (--max-pods)"));
    // What it has is at work and stays, though others have taken the room.
    bench.room = 1;
    assert_eq!(bench.settle(), []);
    // Three tasks are left, and three pods are enough for them.
    bench.job().done = 1;
    bench.step();
    assert_eq!(bench.waits(), None);
    assert!(bench.wakes().is_none_or(|at| at > bench.now + SignedDuration::from_secs(30)), "{:?}", bench.wakes());
    bench.room = 100;
    bench.settle();
    assert_eq!(bench.job().granted, 4);
}

#[test]
fn what_one_step_has_is_no_room_for_the_next() {
    let mut bench = Bench::new();
    bench.room = 5;
    bench.settle();
    bench.report(report(&[], &[ready("documents/extract", 4, 1), ready("sentences/split", 4, 2)]));
    bench.settle();
    let granted = |bench: &Bench| bench.jobs.iter().filter(|j| j.stage.is_some()).map(|j| j.granted).sum::<u32>();
    assert_eq!(granted(&bench), 5, "{:?}", bench.jobs);
    bench.room = 7;
    bench.settle();
    assert_eq!(granted(&bench), 7, "{:?}", bench.jobs);
    assert_eq!(bench.settle(), []);
}

#[test]
fn what_somebody_changes_of_a_job_is_brought_back() {
    for drift in [
        |job: &mut SeenJob| job.granted = 0,
        |job: &mut SeenJob| job.granted = 2,
        |job: &mut SeenJob| job.granted = 50,
        |job: &mut SeenJob| job.parallelism = 2,
        |job: &mut SeenJob| job.suspended = true,
    ] {
        let mut bench = Bench::in_room_for(100);
        assert_eq!(bench.settle(), []);
        drift(bench.job());
        let seen = bench.job().clone();
        let made = bench.settle();
        assert!(matches!(made[..], [Action::Run { asked: 4, granted: 4, .. }]), "{made:?} of {seen:?}");
    }
    // A look at the store, too.
    let mut bench = Bench::new();
    bench.settle();
    bench.jobs[0].suspended = true;
    assert!(matches!(bench.settle()[..], [Action::Run { granted: 1, .. }]));
}

#[test]
fn a_queue_says_when_a_job_runs_and_with_how_many_pods() {
    let queued = |bench: &mut Bench, named: bool| {
        if named {
            bench.plan.build.queue_name = Some("research".to_owned());
            let template = bench.plan.template(Stage::SentenceScore, "worker:1");
            bench.job().template = template;
        }
        // Also where the cluster gives a queue to every Job that names none.
        bench.job().queued = true;
    };
    for named in [true, false] {
        let mut bench = Bench::in_room_for(100);
        queued(&mut bench, named);
        let job = bench.job();
        (job.granted, job.suspended, job.trouble) = (1, true, Some("its queue has not admitted it yet".to_owned()));
        assert_eq!(bench.settle(), []);
        assert_eq!(bench.waits(), Some("its queue has not admitted it yet"));
    }
}
