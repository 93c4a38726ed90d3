"""What to look at on Linux. A line is here because a reason for it holds; see docs/tuning.md for
what was looked at and left alone."""

from __future__ import annotations

from collections.abc import Sequence

from ocaserve.doctor.checks import Check, HostSource, Rule
from ocaserve.doctor.needs import Needs
from ocaserve.doctor.rules import (
    at_least,
    at_most,
    between,
    chosen,
    has_no_word,
    has_word,
    numbers,
    one_of,
    version_at_least,
)

_MOST_DIRTY_BYTES = 4 << 30  # what a flash disk writes in a few seconds
_MOST_QUEUES = 16  # beyond these, interrupts are no longer what limits


def linux_checks(needs: Needs) -> Sequence[Check]:
    """For a kernel of 5.x or 6.x."""
    tls = (_KERNEL_TLS,) if needs.kernel_tls else ()
    return (*_kernel(needs), *tls, *_TCP, *_queues(needs), *_memory(), *_disks(needs), *_CARDS)


def _sysctl(name: str, key: str, rule: Rule, value: str | int, cost: str) -> Check:
    return Check(name, HostSource("sysctl", key), rule, cost, f"sysctl -w {key}={value}")


def _kernel(needs: Needs) -> Sequence[Check]:
    return (
        Check(
            "kernel",
            HostSource("kernel"),
            version_at_least(5, 6),
            "openat2(2) is missing, so no symbolic link in a store is followed",
            "apt-get install linux-image-amd64 && reboot",
        ),
        _sysctl(
            "open-files",
            "fs.file-max",
            at_least(needs.workers * needs.descriptors),
            needs.workers * needs.descriptors,
            "the whole machine runs out of open files while each process is within its own limit",
        ),
        _sysctl(
            "mappings",
            "vm.max_map_count",
            at_least(needs.mappings),
            needs.mappings,
            "each open file of a worker has a mapping; without one more, the next file cannot be "
            "opened and its clients hear 503",
        ),
    )


_KERNEL_TLS = Check(
    "ktls",
    HostSource("sysctl", "net.ipv4.tcp_available_ulp"),
    has_word("tls"),
    "TLS is encrypted by the workers and copied, instead of by the kernel under sendfile",
    "modprobe tls && echo tls > /etc/modules-load.d/ocaserve.conf",
)

_TCP = (
    _sysctl(
        "congestion-control",
        "net.ipv4.tcp_congestion_control",
        one_of("bbr", "cubic"),
        "bbr",
        "reno and the experimental ones take minutes to fill a fast, long path after one loss",
    ),
    Check(
        "pacing",
        HostSource("sysctl", "net.ipv4.tcp_congestion_control net.core.default_qdisc"),
        Rule(
            "fq where congestion control is bbr",
            lambda text: not text.startswith("bbr ") or text.endswith(" fq"),
        ),
        "without fq, each socket that bbr paces has a timer of its own instead of one for a queue: "
        "more processor time for each packet",
        "sysctl -w net.core.default_qdisc=fq    # cards take it when they next come up",
    ),
    _sysctl(
        "slow-start-after-idle",
        "net.ipv4.tcp_slow_start_after_idle",
        one_of("0"),
        0,
        "a player pauses about 10 s between segments, and each segment would begin at ten packets "
        "again: several round trips more for each",
    ),
    _sysctl(
        "send-buffer",
        "net.ipv4.tcp_wmem",
        at_least(4 << 20, "bytes", field=2),
        f'"4096 16384 {4 << 20}"',
        "one connection sends at most this much for each round trip: 1 MiB at 40 ms is 200 Mb/s",
    ),
    _sysctl(
        "send-buffer-limit",
        "net.core.wmem_max",
        at_least(4 << 20, "bytes"),
        4 << 20,
        "fast clients cannot be given a large buffer (serve.large_buffer_bytes), which spares half "
        "of the wake-ups and 9 % of the processor time at 8 MiB, measured",
    ),
    _sysctl(
        "not-sent-low-water",
        "net.ipv4.tcp_notsent_lowat",
        at_least(131_072, "bytes"),
        4_294_967_295,
        "a small value, which guides for web servers advise, wakes a worker for a few packets at a "
        "time: five times the processor time for each byte at 16 KiB, measured",
    ),
    Check(
        "tcp-memory",
        HostSource("tcp-memory"),
        at_most(80, "percent of net.ipv4.tcp_mem's pressure"),
        "at the pressure mark the kernel shrinks the buffers of all connections at once",
        "sysctl -w net.ipv4.tcp_mem="
        "\"$(awk '{print $1*2, $2*2, $3*2}' /proc/sys/net/ipv4/tcp_mem)\"",
    ),
    _sysctl(
        "path-mtu",
        "net.ipv4.tcp_mtu_probing",
        one_of("1", "2"),
        1,
        "clients behind a tunnel whose router sends no ICMP get the head of a response and then "
        "nothing",
    ),
    _sysctl(
        "window-scaling",
        "net.ipv4.tcp_window_scaling",
        one_of("1"),
        1,
        "no connection gets more than 64 KiB for each round trip: 13 Mb/s at 40 ms",
    ),
    _sysctl(
        "selective-acknowledgement",
        "net.ipv4.tcp_sack",
        one_of("1"),
        1,
        "after losses, what has arrived is sent again",
    ),
    _sysctl(
        "syn-cookies",
        "net.ipv4.tcp_syncookies",
        one_of("1", "2"),
        1,
        "a flood of half-open connections shuts all clients out",
    ),
)


def _queues(needs: Needs) -> Sequence[Check]:
    tracked = 2 * needs.workers * needs.connections  # closing ones stay in the table for a while
    return (
        _sysctl(
            "accept-queue",
            "net.core.somaxconn",
            at_least(needs.backlog),
            needs.backlog,
            "when a worker is late by a moment, connections beyond this are dropped, and the "
            "client tries again after a second",
        ),
        _sysctl(
            "connection-tracking",
            "net.netfilter.nf_conntrack_max",
            at_least(tracked),
            tracked,
            "a firewall that follows connections drops new ones when its table is full, and costs "
            "processor time for each packet: better not to follow those of the served ports",
        ),
    )


def _memory() -> Sequence[Check]:
    return (
        Check(
            "swap",
            HostSource("swap"),
            Rule(
                "no swap device, or vm.swappiness at most 10",
                lambda text: not numbers(text)[0] or numbers(text)[1] <= 10,
            ),
            "a stream of cold reads pushes the workers' own memory out to the swap device; a page "
            "that is read back stops all connections of its worker meanwhile",
            "sysctl -w vm.swappiness=1",
        ),
        Check(
            "dirty-pages",
            HostSource("dirty-bytes"),
            at_most(_MOST_DIRTY_BYTES, "bytes"),
            "fill writes gather in memory until they go to the disks all at once, and reads wait "
            "behind them",
            f"sysctl -w vm.dirty_bytes={_MOST_DIRTY_BYTES // 4} "
            f"vm.dirty_background_bytes={_MOST_DIRTY_BYTES // 16}",
        ),
        Check(
            "processor-clock",
            HostSource("processor-clock"),
            Rule(
                "no governor powersave, unless the processor governs itself",
                lambda text: (
                    not text.endswith(" powersave")
                    or text.startswith(("intel_pstate ", "amd-pstate-epp "))
                ),
            ),
            "the processor stays at its lowest clock",
            "echo performance | tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
        ),
    )


def _disks(needs: Needs) -> Sequence[Check]:
    step_kib = needs.step_bytes >> 10
    return (
        Check(
            "read-ahead",
            HostSource("volume", "queue/read_ahead_kb"),
            between(min(1_024, step_kib), 4_096, "KiB"),
            "less cuts what a worker asks of the disk for its next steps into small reads (a "
            "spinning disk then seeks for each); more reads megabytes behind a short range that "
            "nobody asked for, and pushes hot objects out",
            f"echo {min(4_096, 3 * step_kib)} > /sys/block/{{subject}}/queue/read_ahead_kb",
        ),
        Check(
            "flash-scheduler",
            HostSource("disk", "flash queue/scheduler"),
            chosen("none", "mq-deadline"),
            "sorting requests costs a flash disk more than it can gain: bfq and kyber stop at a "
            "fraction of its rate",
            "echo none > /sys/block/{subject}/queue/scheduler",
        ),
        Check(
            "spinning-scheduler",
            HostSource("disk", "spinning queue/scheduler"),
            chosen("mq-deadline", "bfq"),
            "a request at the other end of a spinning disk may wait for seconds behind those that "
            "are near",
            "echo mq-deadline > /sys/block/{subject}/queue/scheduler",
        ),
        Check(
            "access-times",
            HostSource("store", "mount options"),
            has_no_word("strictatime"),
            "each read of an object writes to its disk",
            'mount -o remount,noatime "$(findmnt -n -o TARGET -T {subject})"',
        ),
    )


_CARDS = (
    Check(
        "segmentation-offload",
        HostSource("offload", "tso"),
        one_of("on"),
        "the processor cuts what is sent into packets, instead of the card",
        "ethtool -K {subject} tso on",
    ),
    Check(
        "late-segmentation",
        HostSource("offload", "gso"),
        one_of("on"),
        "each packet goes down the whole network stack alone: about forty times the work for what "
        "is sent in pieces of 64 KiB",
        "ethtool -K {subject} gso on",
    ),
    Check(
        "scatter-gather",
        HostSource("offload", "sg"),
        one_of("on"),
        "the kernel copies what sendfile was to spare: zero copy is gone",
        "ethtool -K {subject} sg on",
    ),
    Check(
        "receive-offload",
        HostSource("offload", "gro"),
        one_of("on"),
        "fill takes the network stack's work for each packet that comes in",
        "ethtool -K {subject} gro on",
    ),
    Check(
        "receive-queues",
        HostSource("queues"),
        Rule(
            f"half as many queues as cores (at most {_MOST_QUEUES} are asked for), or packet "
            "steering",
            lambda text: _spreads(*numbers(text)),
        ),
        "one core answers all interrupts of the card and is full when the others are idle",
        "ethtool -L {subject} combined $(nproc)    # with a single queue: "
        "echo ffffffff > /sys/class/net/{subject}/queues/rx-0/rps_cpus",
    ),
    Check(
        "duplex",
        HostSource("card", "duplex"),
        one_of("full", "unknown"),
        "the link was negotiated badly: collisions take most of what it could carry",
        "ethtool -s {subject} autoneg on",
    ),
)


def _spreads(queues: int, cores: int, steered: int) -> bool:
    return steered > 0 or queues >= min(cores // 2, _MOST_QUEUES)
