//! Runs that are pinned to a class of kernels, and what is kept of the classes that trained.

use federation::KernelClass;
use federation::job::{JobDraft, JobSpec};
use federation::run::RunState;
use orchestrator::checkpoint::{self, Manifest};
use orchestrator::submit::{check, submit};

use crate::worker::Worker;
use crate::world::{Rules, World, job};

const PORTABLE: KernelClass = KernelClass::Portable;

fn pinned(class: KernelClass, job: JobDraft) -> JobDraft {
    JobDraft {
        kernel_class: Some(class),
        ..job
    }
}

async fn manifest(world: &World, run: federation::RunId, round: u32) -> Manifest {
    let manifest = checkpoint::manifest(&world.study.blobs, run, round);
    manifest.await.unwrap().unwrap()
}

/// The class that the test's compute-core uses where none is asked for.
async fn native(world: &World) -> KernelClass {
    let described = world.study.engine.describe().await.unwrap();
    described.kernels.parse().unwrap()
}

#[tokio::test]
async fn a_manifest_names_the_classes_that_trained_its_updates() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(job(3, 1)).await;
    let mut worker = Worker::connect(&world, "w").await;
    for class in ["portable", "x86-64-v3", "portable"] {
        let leased = worker.lease().await;
        let mut done = worker.train(&leased).await;
        class.clone_into(&mut done.kernel_class);
        assert!(worker.report(done).await.accepted);
        worker.acknowledge(&leased).await;
    }
    world.until_state(run, RunState::Completed).await;
    let manifest = manifest(&world, run, 1).await;
    let classes: Vec<_> = manifest.kernel_classes.iter().copied().collect();
    assert_eq!(classes, [KernelClass::X86_64V3, PORTABLE]);
    let written = serde_json::to_value(&manifest).unwrap();
    assert_eq!(
        written["kernel_classes"],
        serde_json::json!(["x86-64-v3", "portable"])
    );
}

#[tokio::test]
async fn a_manifest_from_before_classes_is_read() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(job(1, 1)).await;
    Worker::connect(&world, "w").await.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    let manifest = manifest(&world, run, 1).await;
    let mut written = serde_json::to_value(&manifest).unwrap();
    let removed = written.as_object_mut().unwrap().remove("kernel_classes");
    assert!(removed.is_some());
    let read: Manifest = serde_json::from_value(written).unwrap();
    assert!(read.kernel_classes.is_empty());
    assert_eq!(read.model, manifest.model);
}

#[tokio::test]
async fn a_run_that_is_pinned_waits_for_a_worker_of_its_class_and_is_trained_by_it_alone() {
    let world = World::new(Rules::default()).await;
    let native = native(&world).await;
    let mut other = Worker::connect_with(&world, "other", &[KernelClass::Aarch64]).await;
    let run = world.submit(pinned(PORTABLE, job(2, 1))).await;
    let row = world.until_state(run, RunState::WaitingForWorkers).await;
    assert_eq!(
        row.reason,
        "no worker with kernels of class portable is connected"
    );
    let mut right = Worker::connect_with(&world, "right", &[native, PORTABLE]).await;
    world.until_state(run, RunState::Running).await;
    let first = right.lease().await;
    assert_eq!(first.task.kernel_class, "portable");
    assert!(
        other.lease_now().await.is_none(),
        "the second is not its own"
    );
    let done = right.train(&first).await;
    assert!(right.report(done).await.accepted);
    right.acknowledge(&first).await;
    right.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    let manifest = manifest(&world, run, 1).await;
    assert_eq!(manifest.kernel_classes, [PORTABLE].into());
}

#[tokio::test]
async fn a_run_goes_on_when_a_worker_says_that_it_has_the_class() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(pinned(PORTABLE, job(1, 1))).await;
    let mut worker = Worker::connect(&world, "w").await;
    world.until_state(run, RunState::WaitingForWorkers).await;
    worker.tell_kernels(&[PORTABLE]).await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
}

#[tokio::test]
async fn an_update_of_other_kernels_does_not_count_in_a_run_that_is_pinned() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(pinned(PORTABLE, job(1, 1))).await;
    let mut worker = Worker::connect_with(&world, "w", &[PORTABLE]).await;
    let leased = worker.lease().await;
    let mut done = worker.train(&leased).await;
    "x86-64-v3".clone_into(&mut done.kernel_class);
    let verdict = worker.report(done).await;
    assert_eq!(verdict.reason, "wrong_kernels", "{verdict:?}");
    worker.acknowledge(&leased).await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
}

#[tokio::test]
async fn pinned_tasks_are_queued_again_after_a_restart() {
    let world = World::new(Rules::default()).await;
    let run = world.submit(pinned(PORTABLE, job(2, 1))).await;
    let mut worker = Worker::connect_with(&world, "w", &[PORTABLE]).await;
    worker.work_on(1).await;
    drop(worker);
    let world = world.restart(&[]).await;
    let mut worker = Worker::connect_with(&world, "w", &[PORTABLE]).await;
    worker.work_on(1).await;
    world.until_state(run, RunState::Completed).await;
    let manifest = manifest(&world, run, 1).await;
    assert_eq!(manifest.kernel_classes, [PORTABLE].into());
}

#[tokio::test]
async fn a_class_that_the_models_cannot_be_evaluated_with_is_refused() {
    let world = World::new(Rules::default()).await;
    let class = match cfg!(target_arch = "aarch64") {
        true => KernelClass::X86_64V3,
        false => KernelClass::Aarch64,
    };
    let draft = pinned(class, job(1, 1));
    let spec = JobSpec::try_from(draft.clone()).unwrap();
    let validated = check(&world.study, spec).await.unwrap_err().to_string();
    let own = world.study.engine.describe().await.unwrap().kernel_classes;
    let told = format!(
        "kernel_class: is {class}; the orchestrator's compute-core, which evaluates the models, \
         has {}",
        own.join(", ")
    );
    assert_eq!(validated, told);
    let submitted = submit(&world.study, draft, "key".to_owned()).await;
    assert_eq!(submitted.unwrap_err().to_string(), told);
}
