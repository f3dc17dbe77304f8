use super::*;

fn svg_of(points: &[(f64, f64)]) -> String {
    let series = Series::new("train", points.iter().copied());
    Chart::new("Run").panel("Loss", "epoch", "loss", vec![series]).to_svg()
}

/// The data of the lines drawn, without the legend's.
fn lines(svg: &str) -> Vec<&str> {
    let lines = svg.lines().filter(|line| line.starts_with("<path class=\"line"));
    lines.filter(|line| !line.contains("h18\"/>")).collect()
}

#[test]
fn draws_one_line_through_the_points() {
    let svg = svg_of(&[(0.0, 0.0), (1.0, 1.0), (2.0, 0.5)]);
    assert_eq!(lines(&svg).len(), 1);
    assert_eq!(svg.matches("class=\"axis\"").count(), 1);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for text in ["<title>Run</title>", ">epoch</text>", ">train</text>", ">0.6</text>"] {
        assert!(svg.contains(text), "{text} is missing in {svg}");
    }
}

#[test]
fn breaks_the_line_where_a_point_is_missing() {
    let svg = svg_of(&[(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0), (4.0, 1.0)]);
    assert_eq!(lines(&svg)[0].matches('M').count(), 2);
    let svg = svg_of(&[(0.0, 1.0), (1.0, f64::INFINITY), (2.0, 2.0), (3.0, f64::MAX)]);
    assert_eq!(lines(&svg).len(), 0);
    assert_eq!(svg.matches("<circle").count(), 2);
}

#[test]
fn draws_what_has_no_range_or_no_points() {
    let inputs: [&[(f64, f64)]; 6] = [
        &[],
        &[(f64::NAN, 1.0)],
        &[(0.0, 0.0)],
        &[(1.0, 5.0), (2.0, 5.0)],
        &[(1e300, -1e300), (-1e300, 1e300)],
        &[(1e-320, 1e-310), (2e-320, 5e-324)],
    ];
    for points in inputs {
        let svg = svg_of(points);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}: {svg}");
    }
    assert!(svg_of(&[]).contains("no data"));
    assert!(Chart::new("").to_svg().ends_with("</svg>\n"));
}

#[test]
fn escapes_text() {
    let chart = Chart::new("a < b & \"c\"\u{1}").panel("<p>", "x", "y", Vec::new());
    let svg = chart.to_svg();
    assert!(svg.contains("<title>a &lt; b &amp; &quot;c&quot; </title>"));
    assert!(svg.contains(">&lt;p&gt;</text>"));
}

#[test]
fn a_name_has_one_colour_and_one_legend_entry_per_panel() {
    let line = |name| Series::new(name, [(0.0, 0.0), (1.0, 1.0)]);
    let chart = Chart::new("Run")
        .panel("Loss", "epoch", "loss", vec![line("train"), line("valid"), line("valid")])
        .panel("Accuracy", "epoch", "accuracy", vec![line("valid")]);
    let svg = chart.to_svg();
    assert_eq!(svg.matches(">valid</text>").count(), 2);
    assert_eq!(lines(&svg).iter().filter(|line| line.contains("line1")).count(), 3);
}

#[test]
fn many_panels_stand_in_rows_of_three() {
    let panels = |count: usize| {
        let line = Series::new("train", [(0.0, 0.0), (1.0, 1.0)]);
        let add = |chart: Chart, _| chart.panel("Loss", "step", "", vec![line.clone()]);
        let svg = (0..count).fold(Chart::new("Run"), add).to_svg();
        let size = |name: &str| -> f64 {
            svg.split(&format!(" {name}=\""))
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        (size("width"), size("height"))
    };
    let (one, two, three, four) = (panels(1), panels(2), panels(3), panels(4));
    assert!(one.0 < two.0 && two.0 < three.0 && one.1 == three.1);
    assert_eq!((four.0, panels(7).0), (two.0, three.0));
    let row = four.1 - one.1;
    assert_eq!(panels(7).1, one.1 + 2.0 * row);
}

#[test]
fn of_a_long_series_as_much_is_drawn_as_can_be_seen() {
    let peak = |i: usize| if i == 77_777 { 50.0 } else { (i % 7) as f64 };
    let points: Vec<_> = (0..200_000).map(|i| (i as f64, peak(i))).collect();
    let svg = svg_of(&points);
    assert!(svg.len() < 60_000, "{}", svg.len());
    // The peak is at the upper end of the axis, which is 50.
    let top = lines(&svg)[0]
        .split(['M', 'L', '"'])
        .filter_map(|point| point.split_once(' ').and_then(|(_, y)| y.parse::<f64>().ok()));
    let axis = svg.split("class=\"grid\" d=\"M").nth(1).unwrap();
    assert!(axis.contains(&format!(" {:.1}h340", top.fold(f64::MAX, f64::min))), "{axis}");
}

#[test]
fn what_is_faint_has_the_colour_of_its_name() {
    let line = || Series::new("train", [(0.0, 0.0), (1.0, 1.0)]);
    let chart = Chart::new("").panel("Loss", "step", "", vec![line().faint(), line()]);
    let svg = chart.to_svg();
    assert_eq!(svg.matches("class=\"line line0\" opacity=\"0.4\"").count(), 1);
    assert_eq!(svg.matches(">train</text>").count(), 1);
    assert!(svg.contains("<title>Loss</title>"));
}
