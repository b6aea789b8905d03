//! `pangea generate`.

use std::io::Write;
use std::pin::pin;

use clap::Args;
use client::{Generation, ModelRef};
use futures::TryStreamExt;

use super::Session;
use crate::human::printable_lines;
use crate::json;
use crate::output::Format;

#[derive(Debug, Args)]
pub(super) struct Generate {
    /// A model that was trained on a text; the newest version when none is said
    #[arg(value_name = "NAME[@VERSION]")]
    model: ModelRef,
    /// What the text begins with
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// How many characters to add
    #[arg(long, value_name = "CHARACTERS", default_value_t = 200)]
    length: u32,
    /// 1 draws by the model's own probabilities, less prefers the likely characters, 0 takes the
    /// likeliest
    #[arg(long, default_value_t = 0.8, allow_negative_numbers = true)]
    temperature: f64,
    /// The same one gives the same text
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Generate {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let generation = Generation {
            prompt: self.prompt,
            length: self.length,
            temperature: self.temperature,
            seed: self.seed,
        };
        let client = session.client();
        let (model, pieces) = client.generate(&self.model, &generation).await?;
        let mut pieces = pin!(pieces);
        let mut text = String::new();
        while let Some(piece) = pieces.try_next().await? {
            if session.output.format() == Format::Text {
                session
                    .output
                    .write_all(printable_lines(&piece).as_bytes())?;
                session.output.flush()?;
            }
            text.push_str(&piece);
        }
        match session.output.format() {
            Format::Text if text.ends_with('\n') => {}
            Format::Text => session.output.line("")?,
            Format::Json => session.output.json(&json::Generated {
                model: (&model).into(),
                prompt: generation.prompt,
                text,
                temperature: generation.temperature,
                seed: generation.seed,
            })?,
        }
        Ok(())
    }
}
