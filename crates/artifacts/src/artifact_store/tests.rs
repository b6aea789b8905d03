use super::*;
use crate::contract::{self, Harness};
use crate::localstack;

contract::check!(async {
    let remote = localstack::bucket().await?;
    let dir = tempfile::tempdir().unwrap();
    let local = LocalStore::open(dir.path().to_owned()).unwrap();
    Some(Harness {
        store: Arc::new(ArtifactStore::on_s3(local, remote)),
        keep: Box::new(dir),
    })
});
