//! What time it is: a system clock and a manual one.
