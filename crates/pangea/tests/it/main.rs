//! Tests of the whole house.

mod processes;
