//! One generation, on a thread of its own.

use federation::model::Architecture;
use proto::engine::GENERATED_MAX;
use proto::v1::{GenerateReply, GenerateRequest};
use seams::Seam;
use telemetry::trace::Span;
use tokio::sync::mpsc;
use tonic::Status;
use tracing::debug;

use super::bodies::Parameters;
use super::effort::Effort;
use super::{Service, fault};
use crate::engine::{Generator, Sampling};

/// Where replies go.
pub(super) type Replies = mpsc::Sender<Result<GenerateReply, Status>>;

/// All that a generation is done with.
pub(super) struct Generation {
    model: Architecture,
    parameters: Parameters,
    prompt: Vec<u32>,
    pub(super) length: u32,
    sampling: Sampling,
}

impl Service {
    pub(super) fn plan_generation(&self, request: GenerateRequest) -> Result<Generation, Status> {
        let model = fault::architecture(request.model.as_ref())?;
        let parameters = Parameters::held(&self.cache, &request.parameters_digest, &model)?;
        if !(1..=GENERATED_MAX).contains(&request.length) {
            return Err(fault::length(request.length));
        }
        Ok(Generation {
            model,
            parameters,
            prompt: request.prompt,
            length: request.length,
            sampling: Sampling {
                temperature: request.temperature,
                seed: request.seed,
            },
        })
    }

    /// Generates when its turn has come, unless the caller has left by then.
    pub(super) async fn generate_in_turn(&self, generation: Generation, replies: Replies) {
        let turn = tokio::select! {
            biased;
            () = replies.closed() => return,
            turn = self.turn() => turn,
        };
        let Ok(_turn) = turn else {
            return;
        };
        let seed = generation.sampling.seed;
        let _passage = self.seams.pass(Seam::Service, "generate", &seed).await;
        let timer = self.metrics.processing.of("generate").start();
        let read = generation.parameters.num_bytes() + size_of_val(&generation.prompt[..]);
        let told = replies.clone();
        let generated = Effort::Long
            .spend(&Span::none(), move || generation.run(&told))
            .await;
        let _passage = self.seams.pass(Seam::Service, "answer", &()).await;
        match self.metrics.counted(generated) {
            Ok(count) => {
                timer.stop();
                self.count_bytes("generate", read + count * size_of::<u32>());
            }
            Err(status) => {
                debug!(error = status.message(), "generation ended early");
                // The caller may be gone; then nobody is left to tell.
                drop(replies.try_send(Err(status)));
            }
        }
    }
}

impl Generation {
    /// Draws tokens until there are enough, or until nobody listens any more; yields how many.
    fn run(self, replies: &Replies) -> Result<usize, Status> {
        let parameters = self.parameters.numbers();
        let mut generator = Generator::new(&self.model, &parameters, &self.prompt, self.sampling)
            .map_err(fault::generate)?;
        let length = self.length as usize;
        for count in 0..length {
            let tokens = vec![generator.draw().map_err(fault::generate)?];
            // There is room for all of them, so that a caller that does not read keeps no turn.
            if replies.try_send(Ok(GenerateReply { tokens })).is_err() {
                return Ok(count);
            }
        }
        Ok(length)
    }
}
