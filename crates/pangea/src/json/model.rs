//! Published models.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use client::v1;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Model {
    name: String,
    version: u32,
    digest: String,
    bytes: u64,
    run: String,
    round: u32,
    /// Of a regression null.
    accuracy: Option<f64>,
    loss: f64,
    parameters: u64,
    features: Vec<String>,
    classes: Vec<String>,
    /// The characters of the text that it was trained on.
    vocabulary: Option<String>,
    dataset_digest: String,
    job_digest: String,
    created_at_ms: u64,
    /// Where it was downloaded to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
}

impl From<&v1::PublishedModel> for Model {
    fn from(model: &v1::PublishedModel) -> Self {
        Self {
            name: model.name.clone(),
            version: model.version,
            digest: model.digest.clone(),
            bytes: model.length_bytes,
            run: model.run.clone(),
            round: model.round,
            accuracy: model.accuracy,
            loss: model.loss,
            parameters: model.parameters,
            features: model.features.clone(),
            classes: model.classes.clone(),
            vocabulary: model.vocabulary.clone(),
            dataset_digest: model.dataset_digest.clone(),
            job_digest: model.job_digest.clone(),
            created_at_ms: model.created_at_ms,
            file: None,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Evaluation {
    model: Option<Model>,
    num_examples: u64,
    loss: f64,
    /// Of a regression null.
    accuracy: Option<f64>,
}

impl From<&v1::EvaluateModelResponse> for Evaluation {
    fn from(answer: &v1::EvaluateModelResponse) -> Self {
        Self {
            model: answer.model.as_ref().map(Model::from),
            num_examples: answer.num_examples,
            loss: answer.loss,
            accuracy: answer.accuracy,
        }
    }
}

/// How a model went on with a text.
#[derive(Debug, Serialize)]
pub(crate) struct Generated {
    pub(crate) model: Model,
    pub(crate) prompt: String,
    /// What follows the prompt.
    pub(crate) text: String,
    pub(crate) temperature: f64,
    pub(crate) seed: u64,
}

/// A row's class, and how likely each class is.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Prediction {
    prediction: String,
    probabilities: BTreeMap<String, f64>,
}

/// The predictions in a CSV file as the orchestrator writes it.
pub(crate) fn predictions(text: &[u8]) -> anyhow::Result<Vec<Prediction>> {
    let mut reader = csv::Reader::from_reader(text);
    let columns = reader.headers()?.clone();
    let mut predictions = Vec::new();
    for record in reader.records() {
        let record = record?;
        let mut cells = columns.iter().zip(&record);
        let (_, prediction) = cells.next().context("a row without a prediction")?;
        let probability = |(column, cell): (&str, &str)| {
            let class = column.strip_prefix("p_").unwrap_or(column).to_owned();
            Ok((
                class,
                cell.parse::<f64>()
                    .context("a probability that is no number")?,
            ))
        };
        let probabilities = cells.map(probability).collect::<anyhow::Result<_>>()?;
        predictions.push(Prediction {
            prediction: prediction.to_owned(),
            probabilities,
        });
    }
    Ok(predictions)
}

/// A file that a command wrote.
#[derive(Debug, Serialize)]
pub(crate) struct Wrote {
    file: String,
}

impl Wrote {
    pub(crate) fn new(file: &Path) -> Self {
        Self {
            file: file.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_evaluation_shows_its_model_and_where_that_came_from() {
        let model = v1::PublishedModel {
            name: "digits".into(),
            version: 3,
            digest: "blake3:00".into(),
            length_bytes: 40,
            run: "r".into(),
            round: 20,
            accuracy: Some(0.5),
            loss: 0.25,
            created_at_ms: 9,
            architecture: None,
            parameters: 10,
            features: vec!["p0".into()],
            classes: vec!["0".into(), "1".into()],
            dataset_digest: "blake3:01".into(),
            job_digest: "blake3:02".into(),
            vocabulary: None,
        };
        let answer = v1::EvaluateModelResponse {
            model: Some(model),
            num_examples: 7,
            loss: 0.5,
            accuracy: Some(0.75),
        };
        assert_eq!(
            serde_json::to_value(Evaluation::from(&answer)).unwrap(),
            json!({
                "model": {
                    "name": "digits", "version": 3, "digest": "blake3:00", "bytes": 40,
                    "run": "r", "round": 20, "accuracy": 0.5, "loss": 0.25, "parameters": 10,
                    "features": ["p0"], "classes": ["0", "1"], "vocabulary": null,
                    "dataset_digest": "blake3:01", "job_digest": "blake3:02", "created_at_ms": 9,
                },
                "num_examples": 7, "loss": 0.5, "accuracy": 0.75,
            })
        );
    }

    #[test]
    fn predictions_are_read_from_what_the_orchestrator_writes() {
        let csv = b"prediction,p_a,\"p_b,c\"\na,0.750000,0.250000\n";
        let expected = Prediction {
            prediction: "a".to_owned(),
            probabilities: [("a".to_owned(), 0.75), ("b,c".to_owned(), 0.25)].into(),
        };
        assert_eq!(predictions(csv).unwrap(), [expected]);
    }
}
