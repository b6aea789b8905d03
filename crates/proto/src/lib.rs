//! The language on the wire: messages, services, transports.
