//! Whether the generator, and not the relay, is what was measured.

use crate::latency::Quantiles;
use crate::number;
use crate::process::Cost;

/// A single thread that is busy for more of the time than this cannot be sure to keep up.
const MAX_CPU_SHARE: f64 = 0.9;
/// A thread that had to wait for a CPU for more of the time than this shares it with too many.
const MAX_WAITED_SHARE: f64 = 0.2;
/// Most that 99 % of the objects may leave late, in microseconds.
const MAX_LATENESS: u64 = 5_000;

/// Why this process may be what was measured; empty: it was not.
pub(super) fn bottleneck(generator: &Cost, lateness: &Quantiles, early: u64) -> Vec<String> {
    let mut reasons = Vec::new();
    if generator.cpu_share > MAX_CPU_SHARE {
        reasons.push(format!(
            "the generator's only thread was busy {:.0} % of the time; use several processes, with --role",
            generator.cpu_share * 100.0
        ));
    }
    if generator.waited_share > MAX_WAITED_SHARE {
        reasons.push(format!(
            "the generator was ready to run and had no CPU for {:.0} % of the time; the machine is too busy for latencies, CPU times still hold",
            generator.waited_share * 100.0
        ));
    }
    if lateness.p99 > MAX_LATENESS {
        reasons.push(format!(
            "the generator fell behind its schedule: 1 % of the objects left more than {} late, the worst {}",
            number::span(lateness.p99),
            number::span(lateness.max)
        ));
    }
    if generator.udp_drops > 0 {
        reasons.push(format!(
            "the generator's own socket dropped {} packets for lack of room",
            generator.udp_drops
        ));
    }
    if early > 0 {
        reasons.push(format!(
            "{early} objects arrived before they left: publisher and subscriber must share a machine's clock"
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_at_rest_is_no_bottleneck() {
        let calm = Cost {
            cpu_share: 0.5,
            waited_share: 0.05,
            ..Cost::default()
        };
        let lateness = Quantiles {
            p99: 400,
            max: 9_000,
            ..Quantiles::default()
        };
        assert!(bottleneck(&calm, &lateness, 0).is_empty());
    }

    #[test]
    fn each_way_of_falling_behind_is_told() {
        let busy = Cost {
            cpu_share: 0.97,
            waited_share: 0.3,
            udp_drops: 17,
            ..Cost::default()
        };
        let late = Quantiles {
            p99: 12_000,
            max: 40_000,
            ..Quantiles::default()
        };
        let reasons = bottleneck(&busy, &late, 3).join("\n");
        for part in ["97 %", "30 %", "12.00 ms", "17 packets", "3 objects"] {
            assert!(reasons.contains(part), "{part}: {reasons}");
        }
    }
}
