//! What is counted while compute-core is at work.

use futures::StreamExt;
use proto::v1::HasRequest;

use crate::core::{Core, MIB, examples, gpt, inputs, mlp, parameters, prompt, rows, serve, sgd};

fn cache(core: &Core) -> [u64; 3] {
    let metrics = &core.metrics;
    [
        &metrics.cache_hits,
        &metrics.cache_misses,
        &metrics.cache_evictions,
    ]
    .map(|counter| counter.of("memory").get())
}

#[tokio::test]
async fn every_call_is_measured_by_what_it_asked_for() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let (base, shard) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    let engine = &core.engine;
    engine.describe().await.unwrap();
    engine.plan(&model, &sgd(40, 0.1), 30).await.unwrap();
    engine.init(&model, 7).await.unwrap();
    engine.hold(&inputs(&base, &shard)).await.unwrap();
    let (local, mut on_word) = (sgd(40, 0.1), |_| {});
    let trained = engine.train(&model, inputs(&base, &shard), &local, 9, &mut on_word);
    trained.await.unwrap();
    let evaluated = engine.evaluate(&model, inputs(&base, &shard));
    evaluated.await.unwrap();
    let predicted = engine.predict(&model, inputs(&base, &shard));
    let probabilities = predicted.await.unwrap();
    let (decoder, request) = (gpt(), prompt(&[1, 2, 0], 5));
    let words = parameters(&decoder, 7);
    let input = words.input();
    let generated = engine.generate(&decoder, &input, request);
    let replies: Vec<_> = generated.await.unwrap().collect().await;
    assert_eq!(replies.len(), 5);

    let (base, shard) = (base.bytes.len() as u64, shard.bytes.len() as u64);
    let features = 30 * 6 * 4;
    let expected = [
        ("describe", 1, 0),
        ("plan", 1, 0),
        ("init", 1, base),
        ("has", 4, 0),
        ("put", 3, base + shard + words.bytes.len() as u64),
        ("train", 1, base + shard + base),
        ("evaluate", 1, base + shard),
        ("predict", 1, base + features + probabilities.len() as u64),
        ("generate", 1, words.bytes.len() as u64 + (3 + 5) * 4),
    ];
    let metrics = &core.metrics;
    for (op, calls, bytes) in expected {
        assert_eq!(metrics.processing.of(op).count(), calls, "{op}");
        assert_eq!(metrics.bytes.of(op).get(), bytes, "{op}");
    }
    assert_eq!(metrics.steps.get(), 40);
    // The initial model, the training, the evaluation, the prediction and the generation.
    assert_eq!(metrics.turn_wait.count(), 5);
    assert_eq!(metrics.active_tasks.get(), 0);
    assert_eq!(metrics.waiting_tasks.get(), 0);
}

#[tokio::test]
async fn a_body_that_need_not_travel_is_a_hit_and_one_that_must_go_an_eviction() {
    let model = mlp(6, 4);
    let base = parameters(&model, 7);
    let shards = [0.2, 0.4].map(|shade| examples(&rows(30, 6, shade)));
    let core = serve(base.bytes.len() + shards[0].bytes.len(), 1);
    let (local, engine) = (sgd(4, 0.1), &core.engine);
    let train = async |shard| {
        let mut on_word = |_| {};
        let trained = engine.train(&model, inputs(&base, shard), &local, 9, &mut on_word);
        drop(trained.await.unwrap());
    };
    train(&shards[0]).await;
    assert_eq!(cache(&core), [0, 2, 0]);
    // Whether the caller asks first makes no difference.
    train(&shards[0]).await;
    assert_eq!(cache(&core), [2, 2, 0]);
    drop(engine.evaluate(&model, inputs(&base, &shards[0])).await);
    assert_eq!(cache(&core), [4, 2, 0]);
    train(&shards[1]).await;
    let [hits, misses, evictions] = cache(&core);
    assert_eq!((hits, misses), (5, 3));
    assert!(evictions > 0);
}

#[tokio::test]
async fn errors_are_counted_by_kind() {
    let core = serve(MIB, 1);
    let model = mlp(6, 4);
    let (base, shard) = (parameters(&model, 7), examples(&rows(30, 6, 0.2)));
    let mut on_word = |_| {};
    // Refused once for what it does not hold, then it diverges.
    let diverges = sgd(200, 1e30);
    let trained = core
        .engine
        .train(&model, inputs(&base, &shard), &diverges, 9, &mut on_word);
    trained.await.unwrap_err();
    let misfit = examples(&rows(3, 5, 0.0));
    let asked = core.engine.evaluate(&model, inputs(&base, &misfit));
    asked.await.unwrap_err();
    let digests = vec!["blake3:beef".to_owned()];
    let asked = core.client.clone().has(HasRequest { digests }).await;
    asked.unwrap_err();

    let counted = |kind| core.metrics.errors.of(kind).get();
    for kind in [
        "body_not_held",
        "diverged",
        "shape_mismatch",
        "invalid_message",
    ] {
        assert_eq!(counted(kind), 1, "{kind}");
    }
    assert_eq!(counted("internal"), 0);
}
