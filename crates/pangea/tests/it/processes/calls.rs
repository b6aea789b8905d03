//! The system calls of a process that change files, as strace writes them down.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Every call that changes files; others are not looked at. One of these that is not understood
/// fails the test.
pub(super) const TRACED: &str = "trace=openat,open,creat,write,writev,pwrite64,pwritev,lseek,\
ftruncate,truncate,fallocate,copy_file_range,sendfile,fsync,fdatasync,rename,renameat,renameat2,\
unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat";

/// One call, when it was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) thread: u64,
    pub(super) call: Call,
}

/// What a call did.
#[derive(Debug)]
pub(super) enum Call {
    Open {
        path: PathBuf,
        fd: u64,
        create: bool,
        truncate: bool,
        append: bool,
    },
    Seek {
        fd: u64,
        to: u64,
    },
    Write {
        fd: u64,
        path: PathBuf,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        len: u64,
    },
    SyncBegins {
        path: PathBuf,
    },
    Synced {
        path: PathBuf,
    },
    MakeDirectory {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
}

/// The calls in `trace` that are about something below `root`, in order.
pub(super) fn read(trace: &str, root: &Path) -> Vec<Made> {
    let mut begun: HashMap<u64, &str> = HashMap::new();
    let mut all = Vec::new();
    let root = root.to_str().expect("a path that is text");
    for line in trace.lines() {
        let (thread, rest) = line.split_once(' ').expect("a thread and its call");
        let thread: u64 = thread.parse().expect("a thread");
        let rest = rest.trim_start();
        // The process was killed in it.
        if rest.ends_with(" = ?") {
            continue;
        }
        let whole = if let Some(beginning) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, beginning);
            push(&mut all, thread, beginning, None, root);
            continue;
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, ending) = resumed.split_once(" resumed>").expect("what is resumed");
            let beginning = begun.remove(&thread).expect("what began");
            format!("{beginning}{ending}")
        } else if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        } else {
            push(&mut all, thread, rest, None, root);
            rest.to_owned()
        };
        let (call, result) = whole.rsplit_once(" = ").expect("a result");
        push(&mut all, thread, call.trim_end(), Some(result), root);
    }
    all
}

/// Adds what a call did that begins (there is no result yet) or has ended.
fn push(all: &mut Vec<Made>, thread: u64, call: &str, result: Option<&str>, root: &str) {
    let (name, arguments) = call.split_once('(').expect("a call");
    let is_sync = matches!(name, "fsync" | "fdatasync");
    let done = match result {
        None if is_sync => Some(Call::SyncBegins {
            path: path_of(arguments),
        }),
        None => None,
        Some(result) if result.starts_with('-') => None,
        Some(_) if is_sync => Some(Call::Synced {
            path: path_of(arguments),
        }),
        Some(result) => {
            let arguments = arguments.strip_suffix(')').expect("the end of a call");
            understood(name, &split(arguments), result, root)
        }
    };
    all.extend(done.map(|call| Made { thread, call }));
}

fn understood(name: &str, arguments: &[&str], result: &str, root: &str) -> Option<Call> {
    let at = |index: usize| arguments[index];
    let is_here = |path: &Path| path.starts_with(root);
    let call = match name {
        "open" => open(text(at(0)).into(), at(1), result),
        "openat" => open(place(at(0), at(1)), at(2), result),
        "lseek" => Call::Seek {
            fd: number(at(0)),
            to: number(result),
        },
        "write" => write(arguments, None, result),
        "pwrite64" => write(arguments, Some(number(at(3))), result),
        "ftruncate" => Call::Truncate {
            path: path_of(at(0)),
            len: number(at(1)),
        },
        "mkdir" => Call::MakeDirectory {
            path: text(at(0)).into(),
        },
        "unlink" | "rmdir" => Call::Remove {
            path: text(at(0)).into(),
        },
        "unlinkat" => Call::Remove {
            path: place(at(0), at(1)),
        },
        "rename" => Call::Rename {
            from: text(at(0)).into(),
            to: text(at(1)).into(),
        },
        "renameat" | "renameat2" => Call::Rename {
            from: place(at(0), at(1)),
            to: place(at(2), at(3)),
        },
        _ => {
            let is_about =
                |argument: &&str| is_here(&path_of(argument)) || argument.starts_with('"');
            assert!(
                !arguments.iter().any(is_about),
                "{name} is a call that the model of the disk does not know"
            );
            return None;
        }
    };
    let is_about = match &call {
        Call::Seek { .. } => is_here(&path_of(at(0))),
        Call::Open { path, .. }
        | Call::Write { path, .. }
        | Call::Truncate { path, .. }
        | Call::MakeDirectory { path }
        | Call::Remove { path } => is_here(path),
        Call::Rename { from, to } => is_here(from) || is_here(to),
        Call::SyncBegins { .. } | Call::Synced { .. } => true,
    };
    is_about.then_some(call)
}

fn open(path: PathBuf, flags: &str, result: &str) -> Call {
    Call::Open {
        create: flags.contains("O_CREAT"),
        truncate: flags.contains("O_TRUNC"),
        append: flags.contains("O_APPEND"),
        fd: number(result),
        path,
    }
}

fn write(arguments: &[&str], at: Option<u64>, result: &str) -> Call {
    let mut bytes = bytes(arguments[1]);
    bytes.truncate(usize::try_from(number(result)).expect("a small write"));
    Call::Write {
        fd: number(arguments[0]),
        path: path_of(arguments[0]),
        at,
        bytes,
    }
}

/// The arguments, which are apart by commas; texts are in hexadecimal and hold none.
fn split(arguments: &str) -> Vec<&str> {
    arguments.split(", ").collect()
}

/// The number that a text begins with: `7<\x2f>` has one.
fn number(text: &str) -> u64 {
    let digits = text
        .find(|byte: char| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text[..digits]
        .parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// The path of an open file: `7<\x2f\x74>`.
fn path_of(text: &str) -> PathBuf {
    let path = text
        .split_once('<')
        .and_then(|(_, path)| path.split_once('>'));
    let path = path.map_or("", |(path, _)| path);
    String::from_utf8(bytes(path))
        .expect("a path that is text")
        .into()
}

/// A path relative to a directory: `AT_FDCWD<\x2f>, "\x61"`.
fn place(directory: &str, name: &str) -> PathBuf {
    path_of(directory).join(text(name))
}

fn text(quoted: &str) -> String {
    String::from_utf8(bytes(quoted)).expect("a path that is text")
}

/// What is written as `\x61\x62`, in quotes or without.
fn bytes(quoted: &str) -> Vec<u8> {
    let inner = quoted.trim_end_matches("...").trim_matches('"');
    assert!(!quoted.ends_with("..."), "strace has cut a text short");
    let pairs = inner.split("\\x").skip(1);
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits"))
        .collect()
}
