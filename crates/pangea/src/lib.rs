//! The command line, and the whole house in one process.
