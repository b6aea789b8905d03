//! Calls between services: what they carry of a trace, and how they are counted.
//!
//! [`Layer`] stands before the services of a server. A caller has nothing but [`stamp`].

mod call;
mod layer;
mod methods;
mod place;

pub use layer::{Answer, Answering, Layer, Served};
pub use methods::Metrics;
pub use place::stamp;

pub(crate) use place::{request, told};

#[cfg(test)]
mod tests;
