//! What is held, what is not, and what is refused.

use bytes::Bytes;
use futures::StreamExt;
use proto::body;
use proto::engine::EngineError;
use proto::fault;
use proto::v1::{Body, HasRequest, TrainRequest};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::core::{Core, Held, MIB, examples, inputs, mlp, parameters, rows, serve, sgd};

async fn put(core: &Core, body: &Body, bytes: Bytes) -> Result<(), Status> {
    let messages = body::messages(body.clone(), bytes);
    let mut client = core.client.clone();
    let answer = client.put(futures::stream::iter(messages)).await;
    answer.map(drop)
}

async fn missing(core: &Core, held: &Held) -> Vec<String> {
    let digests = vec![held.body.digest.clone()];
    let answer = core.client.clone().has(HasRequest { digests }).await;
    answer.unwrap().into_inner().missing
}

#[tokio::test]
async fn what_is_not_held_is_named() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let (base, shard) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    let request = TrainRequest {
        model: Some((&model).into()),
        parameters_digest: base.body.digest.clone(),
        examples_digest: shard.body.digest.clone(),
        local: Some((&sgd(1, 0.1)).into()),
        seed: 9,
        client: String::new(),
        kernel_class: String::new(),
    };
    for absent in [&base, &shard] {
        let refused = core.client.clone().train(request.clone()).await;
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            fault::reason(&status).as_deref(),
            Some(fault::BODY_NOT_HELD)
        );
        let digest = fault::metadata(&status, "digest");
        assert_eq!(digest.as_deref(), Some(absent.body.digest.as_str()));
        put(&core, &absent.body, absent.bytes.clone())
            .await
            .unwrap();
    }
    assert!(core.client.clone().train(request).await.is_ok());
}

#[tokio::test]
async fn a_body_lets_go_of_the_one_that_it_supersedes() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let [old, new, other] = [1, 2, 3].map(|seed| parameters(&model, seed));
    let digest = |held: &Held| held.body.digest.parse().unwrap();
    for (held, supersedes) in [(&old, &other), (&other, &new), (&new, &old), (&new, &new)] {
        let brought = core.engine.bring(&held.input(), &digest(supersedes)).await;
        brought.unwrap();
    }
    assert_eq!(missing(&core, &old).await, [&*old.body.digest]);
    assert_eq!(missing(&core, &other).await, [""; 0]);
    assert_eq!(missing(&core, &new).await, [""; 0], "it is no other");
    let both = other.bytes.len() + new.bytes.len();
    assert_eq!(core.metrics.cache_bytes.get(), i64::try_from(both).unwrap());
    assert_eq!(core.metrics.cache_evictions.of("memory").get(), 0);
}

#[tokio::test]
async fn a_tampered_or_truncated_body_is_refused_and_not_held() {
    let core = serve(MIB, 1);
    let shard = examples(&rows(30, 6, 0.2));
    let mut tampered = shard.bytes.to_vec();
    tampered[100] ^= 1;
    let longer = [&shard.bytes[..], &[0; 4]].concat();
    let truncated = shard.bytes.slice(..shard.bytes.len() - 4);
    for bytes in [tampered.into(), longer.into(), truncated, Bytes::new()] {
        let status = put(&core, &shard.body, bytes).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let reason = fault::reason(&status);
        assert_eq!(reason.as_deref(), Some(fault::DIGEST_MISMATCH), "{status}");
        assert!(status.message().contains(&shard.body.digest), "{status}");
        let digest = shard.body.digest.as_str();
        assert_eq!(missing(&core, &shard).await, [digest]);
    }
    put(&core, &shard.body, shard.bytes.clone()).await.unwrap();
    assert!(missing(&core, &shard).await.is_empty());
}

#[tokio::test]
async fn a_body_whose_shapes_contradict_its_length_is_refused() {
    let core = serve(MIB, 1);
    let mut shard = examples(&rows(30, 6, 0.2));
    shard.body.tensors[1].shape[0] += 1;
    let status = put(&core, &shard.body, shard.bytes.clone()).await;
    let reason = fault::reason(&status.unwrap_err());
    assert_eq!(reason.as_deref(), Some(fault::INVALID_MESSAGE));
}

#[tokio::test]
async fn a_text_that_is_no_digest_is_not_simply_missing() {
    let core = serve(MIB, 1);
    let digests = vec!["blake3:beef".to_owned()];
    let refused = core.client.clone().has(HasRequest { digests }).await;
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        fault::metadata(&status, "field").as_deref(),
        Some("digests")
    );
    assert!(status.message().contains("blake3:beef"), "{status}");
}

#[tokio::test]
async fn held_bodies_do_not_travel_again() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let (base, shard) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    for _call in 0..3 {
        let asked = core.engine.evaluate(&model, inputs(&base, &shard));
        asked.await.unwrap();
    }
    assert_eq!((base.loads(), shard.loads()), (1, 1));
}

#[tokio::test]
async fn what_was_evicted_between_two_calls_is_given_again() {
    let model = mlp(6, 4);
    let base = parameters(&model, 7);
    let shards = [0.2, 0.4].map(|shade| examples(&rows(30, 6, shade)));
    let room = base.bytes.len() + shards[0].bytes.len();
    let (tight, roomy) = (serve(room, 1), serve(MIB, 1));
    for _turn in 0..2 {
        for shard in &shards {
            let evaluate = async |core: &Core| {
                let asked = core.engine.evaluate(&model, inputs(&base, shard));
                asked.await.unwrap().loss.to_bits()
            };
            assert_eq!(evaluate(&tight).await, evaluate(&roomy).await);
        }
    }
    let loads = shards.map(|shard| shard.loads());
    assert_eq!(
        loads,
        [3, 3],
        "twice for the tight one, once for the roomy one"
    );
}

#[tokio::test]
async fn a_cache_too_small_for_one_call_is_told_and_not_tried_forever() {
    let core = serve(1, 1);
    let model = mlp(6, 4);
    let (base, shard) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    let asked = core.engine.evaluate(&model, inputs(&base, &shard));
    let error = asked.await.unwrap_err();
    assert!(matches!(error, EngineError::Forgetful), "{error}");
    assert!(error.to_string().contains("cache is too small"), "{error}");
}

#[tokio::test]
async fn who_brings_what_another_brings_is_answered_when_it_is_there() {
    let core = serve(MIB, 1);
    let shard = examples(&rows(30, 6, 0.2));
    let (parts, slow) = tokio::sync::mpsc::channel(1);
    let mut client = core.client.clone();
    let slow = tokio::spawn(async move { client.put(ReceiverStream::new(slow)).await });
    for message in body::messages(shard.body.clone(), shard.bytes.clone()) {
        parts.send(message).await.unwrap();
    }

    // So long a body that the first is waited for, none of which ever comes.
    let long = Body {
        length_bytes: 1 << 40,
        ..shard.body.clone()
    };
    let mut client = core.client.clone();
    let header = futures::stream::iter(body::messages(long, Bytes::new()));
    let silent = header.chain(futures::stream::pending());
    let second = tokio::spawn(async move { client.put(silent).await });
    drop(parts);
    slow.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert!(missing(&core, &shard).await.is_empty());
}
