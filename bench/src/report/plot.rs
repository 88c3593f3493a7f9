//! Latency against load, as SVG.

use plotters::prelude::*;

use crate::number::float;

use super::Report;

/// Size of the picture in pixels.
const SIZE: (u32, u32) = (960, 600);
/// Colours of the reports, one after the other.
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
    RGBColor(23, 190, 207),
];

/// One curve: subscribers, and milliseconds.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
    colour: RGBColor,
    /// Drawn thinner: the median beside the 99 %.
    is_median: bool,
}

/// The curves of some reports. Those of the same name are put together, so that several runs with different loads make a
/// curve like a ramp does.
fn curves(reports: &[Report]) -> Vec<Curve> {
    let mut names: Vec<String> = Vec::new();
    for report in reports {
        let name = report.name();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut curves = Vec::new();
    for (name, colour) in names.into_iter().zip(COLOURS.iter().cycle()) {
        let runs = reports
            .iter()
            .filter(|report| report.name() == name)
            .flat_map(|report| &report.runs)
            .filter(|run| run.latency.count > 0);
        let (mut medians, mut tails) = (Vec::new(), Vec::new());
        for run in runs {
            let load = float(run.subscribers);
            medians.push((load, float(run.latency.p50.max(1)) / 1e3));
            tails.push((load, float(run.latency.p99.max(1)) / 1e3));
        }
        for (what, mut points, is_median) in [("p99", tails, false), ("p50", medians, true)] {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !points.is_empty() {
                curves.push(Curve {
                    name: format!("{name}, {what}"),
                    points,
                    colour: *colour,
                    is_median,
                });
            }
        }
    }
    curves
}

/// Latency (p50 and p99, on a logarithmic scale) against the number of subscribers.
///
/// # Errors
/// A sentence that says why there is nothing to draw, or why it could not be drawn.
pub fn svg(reports: &[Report]) -> Result<String, String> {
    let curves = curves(reports);
    if curves.is_empty() {
        return Err(
            "--plot: no report has an object that was delivered; there is nothing to draw"
                .to_owned(),
        );
    }
    let mut text = String::new();
    draw(&curves, &mut text)
        .map_err(|error| format!("--plot: the picture cannot be drawn: {error}"))?;
    Ok(text)
}

fn draw(curves: &[Curve], text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most = points().map(|point| point.0).fold(1.0, f64::max);
    let low = points().map(|point| point.1).fold(f64::MAX, f64::min);
    let high = points().map(|point| point.1).fold(low, f64::max);
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Latency against load", ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..most * 1.05, (low / 2.0..high * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("subscribers")
        .y_desc("latency in ms")
        .light_line_style(RGBColor(235, 235, 235))
        .draw()?;
    for curve in curves {
        let width = if curve.is_median { 1 } else { 3 };
        let style = curve.colour.stroke_width(width);
        chart
            .draw_series(
                LineSeries::new(curve.points.iter().copied(), style).point_size(width + 1),
            )?
            .label(curve.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{report, run};

    #[test]
    fn a_ramp_is_a_curve_and_runs_of_one_name_are_put_together() {
        let ramp = report("ramp", vec![run(10, 900), run(20, 1800)]);
        let single = |subscribers| report("single", vec![run(subscribers, 5000)]);
        let curves = curves(&[ramp, single(40), single(30)]);
        let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
        assert_eq!(
            names,
            ["ramp, p99", "ramp, p50", "single, p99", "single, p50"]
        );
        assert_eq!(curves[0].points, [(10.0, 0.9), (20.0, 1.8)]);
        assert_eq!(curves[2].points, [(30.0, 5.0), (40.0, 5.0)]);
        assert_ne!(curves[0].colour, curves[2].colour);
    }

    #[test]
    fn the_picture_names_its_axes_and_curves() {
        let text = svg(&[report("my relay", vec![run(10, 900), run(20, 1800)])]).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        for part in ["subscribers", "latency in ms", "my relay, p99", "polyline"] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn one_point_is_enough_and_none_is_refused() {
        assert!(svg(&[report("x", vec![run(1, 1)])]).is_ok());
        assert!(
            svg(&[report("x", vec![])])
                .unwrap_err()
                .contains("nothing to draw")
        );
        assert!(svg(&[]).is_err());
    }
}
