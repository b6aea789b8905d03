//! `pangea demo`.

use std::path::Path;

use federation::Digest;

use crate::shell::pangea;

#[tokio::test]
async fn the_demo_says_what_it_trained_and_a_second_one_publishes_the_next_version() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    for version in [1, 2] {
        let told = pangea(&["demo", "--output", "json", "--data-dir", data_dir]).await;
        assert_eq!(told.status, 0, "{}", told.stderr);
        let summary = told.stdout.lines().last().unwrap();
        let summary: serde_json::Value = serde_json::from_str(summary).unwrap();
        assert_eq!(summary["rounds"], 20);
        assert!(summary["accuracy"].as_f64().unwrap() >= 0.95, "{summary}");
        assert!(summary["loss"].as_f64().unwrap() < 0.5, "{summary}");
        assert!(summary["seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(summary["run"].as_str().unwrap().len(), 36);

        let model = &summary["model"];
        assert_eq!(model["version"], version);
        let file = std::fs::read(Path::new(model["path"].as_str().unwrap())).unwrap();
        assert_eq!(model["digest"], Digest::of(&file).to_string());
        for round in 1..=20 {
            let beginning = format!("round {round}/20: accuracy ");
            assert!(told.stderr.contains(&beginning), "{}", told.stderr);
        }
    }
}
