//! Which events are logged.

use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Filter};

use super::InstallError;

/// What a filter asks for. Never spans, as nobody here makes any, so those of others cost nothing;
/// and of the crates of others, nothing below a warning unless they are named: their chatter would
/// drown ours, and that of the ones that send logs away would feed on itself.
#[derive(Debug)]
pub(super) struct Wanted {
    directives: EnvFilter,
    /// The targets that the filter names.
    named: Vec<String>,
}

impl Wanted {
    pub(super) fn read(filter: &str) -> Result<Self, InstallError> {
        let directives = EnvFilter::try_new(filter).map_err(|source| InstallError::Filter {
            filter: filter.to_owned(),
            source,
        })?;
        let named = filter.split(',').filter_map(target).map(str::to_owned);
        Ok(Self {
            directives,
            named: named.collect(),
        })
    }

    fn may_speak(&self, about: &Metadata<'_>) -> bool {
        about.is_event()
            && (*about.level() <= Level::WARN
                || is_ours(about)
                || self
                    .named
                    .iter()
                    .any(|target| about.target().starts_with(target)))
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, about: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        self.may_speak(about) && self.directives.enabled(about, context.clone())
    }

    fn callsite_enabled(&self, about: &'static Metadata<'static>) -> Interest {
        if self.may_speak(about) {
            Filter::<S>::callsite_enabled(&self.directives, about)
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.directives)
    }
}

/// Whether an event is said by code of this repository: cargo compiles the files of a workspace by
/// their paths in it, and all others by absolute ones.
pub(crate) fn is_ours(about: &Metadata<'_>) -> bool {
    about
        .file()
        .is_some_and(|file| Path::new(file).is_relative())
}

/// The target of a directive such as `hyper=debug` or `hyper`, if it has one.
fn target(directive: &str) -> Option<&str> {
    let target = match directive.split_once(['=', '[']) {
        Some((target, _)) => target,
        None if directive.parse::<LevelFilter>().is_ok() => return None,
        None => directive,
    };
    Some(target).filter(|target| !target.is_empty())
}

#[cfg(test)]
mod tests {
    use tracing::Metadata;
    use tracing::callsite::{Callsite, Identifier};
    use tracing::field::FieldSet;
    use tracing::metadata::Kind;

    use super::*;

    struct Somewhere;

    impl Callsite for Somewhere {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody asks")
        }
    }

    fn said(target: &'static str, level: Level, file: &'static str) -> Metadata<'static> {
        let fields = FieldSet::new(&[], Identifier(&Somewhere));
        let kind = Kind::EVENT;
        Metadata::new("event", target, level, Some(file), None, None, fields, kind)
    }

    fn h2(level: Level) -> Metadata<'static> {
        said("h2::codec", level, "/registry/h2-0.4.12/src/codec.rs")
    }

    fn orchestrator(level: Level) -> Metadata<'static> {
        let file = "crates/orchestrator/src/driver.rs";
        said("orchestrator::driver", level, file)
    }

    #[test]
    fn crates_of_others_only_warn() {
        let wanted = Wanted::read("debug").unwrap();
        assert!(wanted.may_speak(&orchestrator(Level::DEBUG)));
        assert!(wanted.may_speak(&h2(Level::WARN)));
        assert!(!wanted.may_speak(&h2(Level::INFO)));
        assert!(!wanted.may_speak(&h2(Level::DEBUG)));
    }

    #[test]
    fn a_crate_of_others_speaks_when_it_is_named() {
        for filter in ["debug,h2=trace", "info,h2::codec=debug", "h2", "warn,h2"] {
            let wanted = Wanted::read(filter).unwrap();
            assert!(wanted.may_speak(&h2(Level::DEBUG)), "{filter}");
        }
        let wanted = Wanted::read("debug,hyper=trace").unwrap();
        assert!(!wanted.may_speak(&h2(Level::DEBUG)));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_named() {
        let error = Wanted::read("a=loud").unwrap_err();
        assert_eq!(
            error.to_string(),
            "log filter \"a=loud\" cannot be read; must be like \"info\" or \"info,crate=debug\""
        );
    }
}
