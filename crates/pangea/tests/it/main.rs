//! Tests of the whole house, and of the program as its users meet it.

mod catalogue;
mod cli;
mod commands;
mod damage;
mod demo;
mod hostile;
mod keeping;
mod learning;
mod load;
mod processes;
mod program;
mod recovery;
mod refusals;
mod regression;
mod sameness;
mod scene;
mod series;
mod settings;
mod shell;
mod starting;
mod text;
mod tools;
mod traces;

#[global_allocator]
static ALLOCATOR: telemetry::metrics::heap::Allocator = telemetry::metrics::heap::Allocator;
