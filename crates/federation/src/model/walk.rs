//! From layer to layer: what each yields, and whether what stands around it fits.

use super::refusal::Misfit;
use super::{Layer, ModelError, Shape};

/// What each layer yields, for rows of `inputs` numbers.
pub(super) fn walk(layers: &[Layer], inputs: usize) -> Result<Vec<Shape>, ModelError> {
    let mut walk = Walk {
        given: Shape::Features(inputs),
        forks: Vec::new(),
        tokens: None,
    };
    let mut shapes = Vec::with_capacity(layers.len());
    for (index, &layer) in layers.iter().enumerate() {
        let step = Step {
            index,
            layer,
            is_last: index + 1 == layers.len(),
        };
        step.check_numbers()?;
        let shape = walk.step(step)?;
        if shape.is_too_large() {
            return Err(ModelError::LargeRow {
                index,
                layer: layer.name(),
                shape,
            });
        }
        shapes.push(shape);
        walk.given = shape;
    }
    match walk.forks.last() {
        None => Ok(shapes),
        Some((index, _)) => Err(ModelError::Place {
            index: *index,
            layer: Layer::Fork.name(),
            rule: "has no join after it",
        }),
    }
}

/// Where a walk stands.
struct Walk {
    /// What the layers so far yield.
    given: Shape,
    /// Forks without a join so far, and what they keep.
    forks: Vec<(usize, Shape)>,
    /// How many tokens the embedding knows, and how long their vectors are.
    tokens: Option<(usize, usize)>,
}

/// A layer, and where it stands.
#[derive(Clone, Copy)]
struct Step {
    index: usize,
    layer: Layer,
    is_last: bool,
}

impl Step {
    fn check_numbers(self) -> Result<(), ModelError> {
        let index = self.index;
        match (self.layer, self.layer.zero()) {
            (Layer::Linear { inputs, outputs }, _) if inputs == 0 || outputs == 0 => {
                Err(ModelError::EmptyLayer {
                    index,
                    inputs,
                    outputs,
                })
            }
            (layer, Some(number)) => Err(ModelError::Zero {
                index,
                layer: layer.name(),
                number,
            }),
            _ => Ok(()),
        }
    }

    fn misplaced(&self, rule: &'static str) -> ModelError {
        ModelError::Place {
            index: self.index,
            layer: self.layer.name(),
            rule,
        }
    }

    fn refuse_numbers(&self, takes: String) -> ModelError {
        ModelError::Numbers {
            index: self.index,
            layer: self.layer.name(),
            takes,
        }
    }

    fn refuse(&self, takes: String, given: Shape) -> ModelError {
        match (self.layer, given) {
            (Layer::Linear { inputs, .. }, Shape::Features(given)) => ModelError::Mismatch {
                index: self.index,
                inputs,
                given,
            },
            _ => ModelError::Shape {
                index: self.index,
                layer: self.layer.name(),
                takes,
                given,
            },
        }
    }
}

impl Walk {
    fn step(&mut self, step: Step) -> Result<Shape, ModelError> {
        let given = self.given;
        let shape = step.layer.yields(given).map_err(|misfit| match misfit {
            Misfit::Given(takes) => step.refuse(takes, given),
            Misfit::Own(takes) => step.refuse_numbers(takes),
        })?;
        match step.layer {
            Layer::Fork => self.forks.push((step.index, given)),
            Layer::Join => match self.forks.pop() {
                Some((_, kept)) if kept == given => {}
                Some((_, kept)) => {
                    return Err(step.refuse(format!("{kept}, as its fork kept"), given));
                }
                None => return Err(step.misplaced("has no fork before it")),
            },
            Layer::Embedding { .. } if step.index > 0 => {
                return Err(step.misplaced("must be the first layer"));
            }
            Layer::Embedding {
                vocabulary, width, ..
            } => self.tokens = Some((vocabulary, width)),
            Layer::TiedHead => return self.head(&step),
            Layer::Regression if !step.is_last => {
                return Err(step.misplaced("must be the last layer"));
            }
            _ => {}
        }
        Ok(shape)
    }

    /// A tied head yields a logit for each token of the embedding.
    fn head(&self, step: &Step) -> Result<Shape, ModelError> {
        match (self.tokens, self.given) {
            (Some((vocabulary, own)), Shape::Sequence { positions, width }) if own == width => {
                Ok(Shape::Sequence {
                    positions,
                    width: vocabulary,
                })
            }
            (Some((_, width)), given) => {
                let takes = format!("positions as wide as the embedding's {width}");
                Err(step.refuse(takes, given))
            }
            (None, _) => Err(step.misplaced("needs an embedding as the first layer")),
        }
    }
}
