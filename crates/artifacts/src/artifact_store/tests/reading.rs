//! What is brought to the directory, and when it is looked at again.

use super::*;

#[tokio::test]
async fn many_readers_fetch_an_object_once() {
    let Some(world) = World::new().await else {
        return;
    };
    let bytes = pattern(9 * 1024 * 1024);
    let model = Key::content(Kind::Model, &Digest::of(&bytes));
    world.remote.put(&model, bytes.clone()).await.unwrap();
    let dir = dir();
    let store = over(&dir, &world.remote);
    let before = world.requests("read");
    let all = try_join_all((0..8).map(|_reader| try_read(&store, &model))).await;
    assert!(all.unwrap().iter().all(|read| *read == bytes));
    assert_eq!(world.requests("read") - before, 2, "pieces");
}

#[tokio::test]
async fn a_fetch_that_broke_goes_on_where_it_broke() {
    let Some(world) = World::new().await else {
        return;
    };
    let bytes = pattern(20 * 1024 * 1024);
    let model = Key::content(Kind::Model, &Digest::of(&bytes));
    world.remote.put(&model, bytes.clone()).await.unwrap();
    let dir = dir();
    let local = LocalStore::open(dir.path().to_owned()).unwrap();
    let len = bytes.len() as u64;
    let arrived = 12 * 1024 * 1024;
    let mut broken = local
        .upload(&model, len, &Digest::of(&bytes))
        .await
        .unwrap();
    broken.write(bytes.slice(..arrived)).await.unwrap();
    drop(broken);

    let store = over(&dir, &world.remote);
    let read_before = world.metrics.bytes.with_label_values(&["s3", "read"]).get();
    assert!(read(&store, &model).await == bytes);
    let fetched = world.metrics.bytes.with_label_values(&["s3", "read"]).get() - read_before;
    assert_eq!(fetched, len - arrived as u64);
}

#[tokio::test]
async fn what_another_process_wrote_is_seen_after_a_look() {
    let Some(world) = World::new().await else {
        return;
    };
    let (here, there) = (dir(), dir());
    let (ours, theirs) = (over(&here, &world.remote), over(&there, &world.remote));
    ours.put(&record(), text("1")).await.unwrap();
    theirs.put(&record(), text("2")).await.unwrap();
    ours.revalidate();
    assert_eq!(read(&ours, &record()).await, "2");
    theirs.put(&record(), text("3")).await.unwrap();
    drop(ours);
    let ours = over(&here, &world.remote);
    assert_eq!(read(&ours, &record()).await, "3");
    theirs.delete(&record()).await.unwrap();
    ours.revalidate();
    assert_eq!(ours.head(&record()).await.unwrap(), None);
    let gone = try_read(&ours, &record()).await;
    assert!(matches!(gone, Err(BlobError::NotFound { .. })));
}

#[tokio::test]
async fn a_file_that_rotted_is_fetched_again_after_a_start() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let model = Key::checkpoint_model(RUN, 1, &Digest::of(b"model"));
    let store = over(&dir, &world.remote);
    store.put(&model, text("pangea")).await.unwrap();
    fs::write(store.path_of(&model), "panzea").unwrap();
    drop(store);
    let store = over(&dir, &world.remote);
    assert_eq!(read(&store, &model).await, "pangea");
}

#[tokio::test]
async fn what_s3_gives_is_verified() {
    let Some(world) = World::new().await else {
        return;
    };
    let dir = dir();
    let store = over(&dir, &world.remote);
    let (right, wrong) = (text("pangea"), text("panzea"));
    world
        .remote
        .forge(&record(), wrong, Some(&Digest::of(&right)))
        .await;
    let refused = try_read(&store, &record()).await;
    assert!(
        matches!(refused, Err(BlobError::DigestMismatch { .. })),
        "{refused:?}"
    );
    world.remote.forge(&record(), right, None).await;
    assert_eq!(
        read(&store, &record()).await,
        "pangea",
        "put by another tool"
    );
}
