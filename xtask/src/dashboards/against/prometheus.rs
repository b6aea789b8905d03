//! Asks a Prometheus, by HTTP and without a library for it: the requests are small, the server is
//! near, and an answer by HTTP 1.0 ends where the connection does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use crate::dashboards::links::encoded;

const PATIENCE: Duration = Duration::from_secs(30);

/// How far back a range reaches, and its step: a few scrapes of 15 s.
const RANGE_SECONDS: f64 = 300.0;
const STEP_SECONDS: u8 = 15;

pub(super) struct Prometheus {
    /// `host:port`
    address: String,
}

/// What came of a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) series: usize,
    /// The labels of a series with a NaN or an infinity.
    pub(super) not_finite: Option<String>,
}

impl Prometheus {
    /// The one at `url`, if it answers.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let address = url
            .strip_prefix("http://")
            .ok_or_else(|| anyhow!("expected http://HOST:PORT, found {url}"))?
            .trim_end_matches('/');
        let address = match address.contains(':') {
            true => address.to_owned(),
            false => format!("{address}:80"),
        };
        let prometheus = Self { address };
        prometheus.now()?;
        Ok(prometheus)
    }

    pub(super) fn instant(&self, query: &str) -> anyhow::Result<Answer> {
        let data = self.get(&format!("/api/v1/query?query={}", encoded(query)))?;
        Ok(answer(&data))
    }

    pub(super) fn range(&self, query: &str) -> anyhow::Result<Answer> {
        let end = self.now()?;
        let start = end - RANGE_SECONDS;
        let query = encoded(query);
        let path = format!(
            "/api/v1/query_range?query={query}&start={start}&end={end}&step={STEP_SECONDS}"
        );
        Ok(answer(&self.get(&path)?))
    }

    /// How many values a label has, of the series that a selector chooses.
    pub(super) fn values(&self, selector: &str, label: &str) -> anyhow::Result<usize> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", encoded(selector));
        let data = self.get(&path)?;
        Ok(data.as_array().map_or(0, Vec::len))
    }

    /// The server's own clock, in seconds since 1970.
    fn now(&self) -> anyhow::Result<f64> {
        let data = self.get("/api/v1/query?query=time()")?;
        let text = data["result"][1]
            .as_str()
            .context("read the time of Prometheus")?;
        text.parse().context("read the time of Prometheus")
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let body = self
            .body(path)
            .with_context(|| format!("ask Prometheus at {}", self.address))?;
        let mut answer: Value = serde_json::from_str(&body)
            .with_context(|| format!("read the answer of Prometheus: {body:.200}"))?;
        if answer["status"] != "success" {
            bail!("Prometheus refuses it: {}", answer["error"]);
        }
        Ok(answer["data"].take())
    }

    fn body(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer
            .split_once("\r\n\r\n")
            .context("the answer has no body")?;
        Ok(body.to_owned())
    }
}

fn answer(data: &Value) -> Answer {
    let result = data["result"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    // A scalar is [time, "value"], and not a list of series.
    if data["resultType"] == "scalar" {
        return Answer {
            series: 1,
            not_finite: not_finite(data),
        };
    }
    Answer {
        series: result.len(),
        not_finite: result.iter().find_map(not_finite),
    }
}

fn not_finite(series: &Value) -> Option<String> {
    let one = series.get("value").into_iter();
    let many = series["values"].as_array().into_iter().flatten();
    let scalar = series.get("result").into_iter();
    let mut numbers = one
        .chain(many)
        .chain(scalar)
        .filter_map(|sample| sample[1].as_str());
    numbers
        .any(|number| matches!(number, "NaN" | "+Inf" | "-Inf"))
        .then(|| series["metric"].to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matrix(values: &[&str]) -> Value {
        let samples: Vec<Value> = values.iter().map(|value| json!([1, value])).collect();
        json!({ "resultType": "matrix", "result": [{ "metric": { "job": "oven" }, "values": samples }] })
    }

    #[test]
    fn a_number_that_is_none_is_found_wherever_it_stands() {
        let fine = Answer {
            series: 1,
            not_finite: None,
        };
        assert_eq!(answer(&matrix(&["1", "0.5"])), fine);
        for bad in ["NaN", "+Inf", "-Inf"] {
            let found = answer(&matrix(&["1", bad, "2"])).not_finite;
            assert_eq!(found.as_deref(), Some(r#"{"job":"oven"}"#));
        }
        assert_eq!(
            answer(&json!({ "resultType": "scalar", "result": [1, "2"] })),
            fine
        );
    }

    #[test]
    fn nothing_is_nothing() {
        let none = json!({ "resultType": "vector", "result": [] });
        assert_eq!(
            answer(&none),
            Answer {
                series: 0,
                not_finite: None
            }
        );
    }
}
