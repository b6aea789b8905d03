//! How much memory this process may use.

/// Bytes of memory that this process may use: those of the machine, or the fewest that a control
/// group around it (version 2) is held to. 0 where the system does not say.
pub(crate) fn available() -> u64 {
    let machine = machine().unwrap_or(0);
    groups::limit().map_or(machine, |limit| limit.min(machine))
}

#[cfg(target_os = "linux")]
fn machine() -> Option<u64> {
    use procfs::Current;

    Some(procfs::Meminfo::current().ok()?.mem_total)
}

#[cfg(not(target_os = "linux"))]
fn machine() -> Option<u64> {
    None
}

mod groups {
    use std::fs::read_to_string;
    use std::path::Path;

    const ROOT: &str = "/sys/fs/cgroup";

    /// The fewest bytes that a control group of this process is held to, if one is.
    pub(super) fn limit() -> Option<u64> {
        let groups = read_to_string("/proc/self/cgroup").ok()?;
        within(Path::new(ROOT), &groups)
    }

    /// As [`limit`], where `groups` is what the system says of a process and `root` has the groups.
    pub(super) fn within(root: &Path, groups: &str) -> Option<u64> {
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let own = root.join(own);
        let around = own.ancestors().take_while(|group| group.starts_with(root));
        let limits = around.filter_map(|group| {
            let limit = read_to_string(group.join("memory.max")).ok()?;
            limit.trim().parse().ok()
        });
        limits.min()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    #[test]
    fn the_tightest_control_group_around_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let within = |groups| groups::within(root.path(), groups);
        create_dir_all(root.path().join("a/b")).unwrap();
        assert_eq!(within("0::/a/b\n"), None, "nobody is held to anything");
        write(root.path().join("a/b/memory.max"), "max\n").unwrap();
        write(root.path().join("a/memory.max"), "4096\n").unwrap();
        assert_eq!(within("1:name=systemd:/x\n0::/a/b\n"), Some(4096));
        write(root.path().join("a/b/memory.max"), "512\n").unwrap();
        assert_eq!(within("0::/a/b\n"), Some(512));
        assert_eq!(within("0::/\n"), None, "as in a namespace without a limit");
        assert_eq!(within("1:memory:/a\n"), None, "of version 1");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_machine_has_memory() {
        assert!(available() > 1 << 20);
    }
}
