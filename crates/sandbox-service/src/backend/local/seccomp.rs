//! What a room's processes may not ask of the kernel: a filter that the kernel runs before each system call.
//!
//! A sandbox's processes hold no capability and can make no namespace, so most of this is refused anyway. The filter keeps them
//! from trying: the code behind these calls is where kernels are broken. A refusal is an error, never a kill, because programs
//! ask what there is and go on without. Not forbidden is `ptrace`: a debugger is useful, the room's own pid namespace shows
//! nobody else's processes, and the process that matters is in another room. What this list does not know yet is closed.

use std::fs;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// On x86-64 the calls of its 32-bit-pointer variant begin here, beside those that are looked at.
const FOREIGN_FROM: u32 = 0x4000_0000;
/// `mseal`, of Linux 6.10; the numbers from 424 on are the same everywhere.
const NEWEST: u32 = 462;

const EPERM: u32 = 1;
const EAFNOSUPPORT: u32 = 97;
const ENOSYS: u32 = 38;

/// Refused as a right that is missing.
const FORBIDDEN: &[i64] = &[
    // Mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Files past their names, and what is told of others' files.
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Other namespaces. Making one is looked at below.
    libc::SYS_setns,
    // The kernel's own programs, keys and counters.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    // The machine as a whole.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
];

/// Of one processor's kernel only.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[i64] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[i64] = &[];

/// Answered as by a kernel that does not have them, so that programs take another way.
const ABSENT: &[i64] = &[
    // Its flags lie in memory, where no filter sees them. The C library falls back to `clone`.
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_secret,
    libc::SYS_nfsservctl,
];

/// New namespaces: mount, cgroup, uts, ipc, user, pid, net.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Shares its bit with a signal number of `clone`, and means a namespace to `unshare` alone.
const NEW_TIME_NAMESPACE: u32 = 0x80;
/// Put characters into a terminal as if they had been typed there.
const TERMINAL_FORGERIES: [u32; 2] = [0x5412, 0x541c];
/// Plain Linux, the question which it is, and without address randomization, which debuggers turn off.
const PERSONALITIES: [u32; 3] = [0, u32::MAX, 0x0004_0000];
/// Unix, IPv4, IPv6.
const SOCKET_FAMILIES: [u32; 3] = [1, 2, 10];
/// Allowed for its protocol 0 alone, by which programs learn their own addresses.
const NETLINK: u32 = 16;
const FILE_KIND: u32 = 0o170_000;
const DEVICES: [u32; 2] = [0o020_000, 0o060_000];

/// Whether this kernel runs filters and there is one for its processor.
pub fn is_supported() -> bool {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    ARCHITECTURE.is_some() && actions.split_whitespace().any(|action| action == "errno")
}

/// The filter in the kernel's own form. `None` on a processor that it was not written for.
pub fn program() -> Option<Vec<u8>> {
    let mut filter = Filter::default();
    filter.foreign_architectures(ARCHITECTURE?);
    filter.load(Filter::NUMBER);
    filter.refuse_from(FOREIGN_FROM, ENOSYS);
    filter.refuse_from(NEWEST + 1, ENOSYS);
    for call in FORBIDDEN.iter().chain(FORBIDDEN_HERE) {
        filter.refuse_if(*call, EPERM);
    }
    for call in ABSENT {
        filter.refuse_if(*call, ENOSYS);
    }
    filter.look_into(libc::SYS_clone, &[Step::RefuseBits(0, NEW_NAMESPACES, EPERM)]);
    let namespaces = NEW_NAMESPACES | NEW_TIME_NAMESPACE;
    filter.look_into(libc::SYS_unshare, &[Step::RefuseBits(0, namespaces, EPERM)]);
    filter.look_into(libc::SYS_ioctl, &[Step::RefuseValues(1, u32::MAX, &TERMINAL_FORGERIES)]);
    filter.look_into(
        libc::SYS_personality,
        &[Step::AllowValues(0, &PERSONALITIES), Step::Refuse(EPERM)],
    );
    let route_alone = [
        Step::AllowValues(0, &SOCKET_FAMILIES),
        Step::RefuseOthers(0, NETLINK, EAFNOSUPPORT),
        Step::RefuseOthers(2, 0, EAFNOSUPPORT),
    ];
    filter.look_into(libc::SYS_socket, &route_alone);
    #[cfg(target_arch = "x86_64")]
    filter.look_into(libc::SYS_mknod, &[Step::RefuseValues(1, FILE_KIND, &DEVICES)]);
    filter.look_into(libc::SYS_mknodat, &[Step::RefuseValues(2, FILE_KIND, &DEVICES)]);
    filter.give(Filter::ALLOW);
    Some(filter.bytes)
}

/// One look at an argument of a call. What passes all of a call's steps is allowed.
enum Step<'a> {
    /// Argument, bits of which none may be set, error.
    RefuseBits(u32, u32, u32),
    /// Argument, its bits that count, the values that are refused.
    RefuseValues(u32, u32, &'a [u32]),
    /// Argument, the values with which nothing more is looked at.
    AllowValues(u32, &'a [u32]),
    /// Argument, the only value that passes, error.
    RefuseOthers(u32, u32, u32),
    Refuse(u32),
}

/// A program for the kernel's packet-filter machine (`man 2 seccomp`), eight bytes an instruction.
#[derive(Default)]
struct Filter {
    bytes: Vec<u8>,
}

impl Filter {
    // Offsets in what the kernel lets the program look at.
    const NUMBER: u32 = 0;
    const CALLING_ARCHITECTURE: u32 = 4;
    const ARGUMENTS: u32 = 16;

    const ALLOW: u32 = 0x7fff_0000;
    const ERROR: u32 = 0x0005_0000;

    const LOAD: u16 = 0x20;
    const AND: u16 = 0x54;
    const EQUAL: u16 = 0x15;
    const AT_LEAST: u16 = 0x35;
    const ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    /// Bytes of one instruction.
    const WIDTH: usize = 8;

    fn push(&mut self, code: u16, skip_if_true: u8, skip_if_false: u8, value: u32) {
        self.bytes.extend(code.to_ne_bytes());
        self.bytes.extend([skip_if_true, skip_if_false]);
        self.bytes.extend(value.to_ne_bytes());
    }

    fn load(&mut self, offset: u32) {
        self.push(Self::LOAD, 0, 0, offset);
    }

    fn give(&mut self, verdict: u32) {
        self.push(Self::RETURN, 0, 0, verdict);
    }

    fn refuse(&mut self, error: u32) {
        self.give(Self::ERROR | error);
    }

    /// A program of another architecture has other numbers for its calls.
    fn foreign_architectures(&mut self, ours: u32) {
        self.load(Self::CALLING_ARCHITECTURE);
        self.push(Self::EQUAL, 1, 0, ours);
        self.refuse(ENOSYS);
    }

    fn refuse_from(&mut self, least: u32, error: u32) {
        self.push(Self::AT_LEAST, 0, 1, least);
        self.refuse(error);
    }

    fn refuse_if(&mut self, call: i64, error: u32) {
        self.push(Self::EQUAL, 0, 1, number(call));
        self.refuse(error);
    }

    /// Decides about one call, whatever its arguments. The number of the call must be loaded, and still is for those after it.
    fn look_into(&mut self, call: i64, steps: &[Step<'_>]) {
        let mut inner = Self::default();
        for step in steps {
            inner.step(step);
        }
        inner.give(Self::ALLOW);
        // A few instructions by construction: the jump over them always fits.
        let length = u8::try_from(inner.bytes.len() / Self::WIDTH).unwrap_or(u8::MAX);
        self.push(Self::EQUAL, 0, length, number(call));
        self.bytes.extend(inner.bytes);
    }

    fn step(&mut self, step: &Step<'_>) {
        match *step {
            Step::RefuseBits(argument, bits, error) => {
                self.load_argument(argument);
                self.push(Self::ANY_BIT, 0, 1, bits);
                self.refuse(error);
            }
            Step::RefuseValues(argument, bits, values) => {
                self.load_argument(argument);
                self.push(Self::AND, 0, 0, bits);
                for value in values {
                    self.push(Self::EQUAL, 0, 1, *value);
                    self.refuse(EPERM);
                }
            }
            Step::AllowValues(argument, values) => {
                self.load_argument(argument);
                for value in values {
                    self.push(Self::EQUAL, 0, 1, *value);
                    self.give(Self::ALLOW);
                }
            }
            Step::RefuseOthers(argument, value, error) => {
                self.load_argument(argument);
                self.push(Self::EQUAL, 1, 0, value);
                self.refuse(error);
            }
            Step::Refuse(error) => self.refuse(error),
        }
    }

    /// Loads the lower half of an argument: all of what is looked at here, the kernel takes as 32 bits.
    fn load_argument(&mut self, argument: u32) {
        let lower_half = if cfg!(target_endian = "big") { 4 } else { 0 };
        self.load(Self::ARGUMENTS + 8 * argument + lower_half);
    }
}

fn number(call: i64) -> u32 {
    // Never reached by a call: no number of the kernel's is out of range.
    u32::try_from(call).unwrap_or(u32::MAX)
}
