//! Turns, as seen from inside.

use std::sync::mpsc;
use std::time::Duration;

use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::ModelSpec;
use telemetry::metrics::Registry;

use super::*;

fn service() -> Service {
    let metrics = Metrics::register(&Registry::new("test").unwrap()).unwrap();
    Service::new(
        Cache::new(1 << 20),
        NonZeroUsize::MIN,
        NonZeroUsize::MIN,
        metrics,
    )
}

fn local() -> LocalTraining {
    LocalTraining {
        duration: LocalDuration::Steps(1),
        batch_size: 1,
        schedule: Schedule::Constant,
        clip_norm: None,
        optimizer: Optimizer::Sgd {
            learning_rate: 0.1,
            momentum: 0.0,
            weight_decay: 0.0,
        },
    }
}

#[tokio::test]
async fn a_computation_whose_caller_left_keeps_its_turn_until_it_ends() {
    let service = service();
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let (end, may_end) = mpsc::channel::<()>();
    let computing = service.compute("init", Effort::Long, move || {
        begun.try_send(()).unwrap();
        may_end.recv().unwrap();
        Ok(())
    });
    tokio::select! {
        _ = computing => panic!("nobody let it end"),
        _ = has_begun.recv() => {}
    }
    assert_eq!(service.running.available_permits(), 0);
    end.send(()).unwrap();
    assert!(service.turn().await.is_ok());
}

#[tokio::test]
async fn a_training_whose_caller_left_waits_for_no_turn() {
    let service = service();
    let model = ModelSpec::SoftmaxRegression.architecture(1, 2).unwrap();
    let numbers = |tensors, bytes: &[u8]| {
        let digest = federation::Digest::of(bytes);
        let bytes = Bytes::copy_from_slice(bytes);
        service.cache.put(digest, Held { tensors, bytes });
        digest
    };
    let parameters = numbers(body::parameter_tensors(&model), &[0; 16]);
    let tensor = |name: &str, dtype: proto::v1::Dtype, shape: &[u64]| TensorMeta {
        name: name.to_owned(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
    };
    let rows = vec![
        tensor("labels", proto::v1::Dtype::I64, &[1]),
        tensor("features", proto::v1::Dtype::F32, &[1, 1]),
    ];
    let examples = numbers(rows, &[0; 12]);
    let _taken = service.turn().await.unwrap();
    let request = TrainRequest {
        model: Some((&model).into()),
        parameters_digest: parameters.to_string(),
        examples_digest: examples.to_string(),
        local: Some((&local()).into()),
        seed: 1,
        client: String::new(),
        kernel_class: String::new(),
    };
    let stream = service.train(Request::new(request)).await.unwrap();
    let held = service.cache.get(&parameters).unwrap();
    assert_eq!(
        Arc::strong_count(&held),
        3,
        "the cache, the training and we"
    );
    drop(stream);
    let let_go = async {
        while Arc::strong_count(&held) > 2 {
            tokio::task::yield_now().await;
        }
    };
    let let_go = tokio::time::timeout(Duration::from_secs(30), let_go).await;
    assert!(let_go.is_ok(), "it still waits for its turn");
}

#[tokio::test]
async fn who_asks_for_a_body_that_somebody_brings_hears_when_it_is_there() {
    let service = service();
    let model = ModelSpec::SoftmaxRegression.architecture(1, 2).unwrap();
    let bytes = Bytes::from_static(&[0; 16]);
    let digest = federation::Digest::of(&bytes);
    // So large that it is waited for.
    let bringing = service
        .arrivals
        .turn(&*service.clock, digest, 1 << 40)
        .await;
    let mut has = Box::pin(service.missing(vec![digest.to_string()]));
    let request = TrainRequest {
        model: Some((&model).into()),
        parameters_digest: digest.to_string(),
        examples_digest: federation::Digest::of(b"others").to_string(),
        local: Some((&local()).into()),
        ..TrainRequest::default()
    };
    let mut train = Box::pin(service.prepare_training(request));
    assert!(futures::poll!(&mut has).is_pending());
    assert!(futures::poll!(&mut train).is_pending());
    let tensors = body::parameter_tensors(&model);
    service.cache.put(digest, Held { tensors, bytes });
    drop(bringing);
    assert_eq!(has.await.unwrap(), [""; 0]);
    let refused = train.await.err().unwrap();
    assert!(
        refused
            .message()
            .contains(&federation::Digest::of(b"others").to_string()),
        "of what it needs, only what nobody brings is missing: {refused}"
    );
}
