//! Tests of the whole house, and of the program as its users meet it.

mod cli;
mod commands;
mod learning;
mod recovery;
mod sameness;
mod scene;
mod shell;
