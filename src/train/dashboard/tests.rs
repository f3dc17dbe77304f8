use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;

/// The picture on a terminal of this size, as text.
fn picture(view: &View, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(frame, view)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_string()
    };
    (0..height).map(line).collect()
}

/// In the third of five epochs of 40 steps each.
fn view() -> View {
    let mut history = History::default();
    let mut add = |line: serde_json::Value| history.add(line.as_object().unwrap());
    for step in 1..=90 {
        let loss = 2.0 / step as f64 + 0.1;
        add(json!({"step": step, "loss": loss, "lr": 0.001}));
        if step % 40 == 0 {
            add(
                json!({"step": step, "epoch": step / 40, "train loss": loss, "valid loss": loss + 0.1,
                "train accuracy": 0.5, "valid accuracy": 0.01 * step as f64}),
            );
        }
    }
    View {
        epochs: 5,
        batches: Some(40),
        epoch: 2,
        batch: 10,
        step: 90,
        lr: 0.001,
        pace: 12345.6,
        memory: 1_234_567,
        values: vec![("loss".into(), 0.125), ("accuracy".into(), 0.5)],
        elapsed: Duration::from_secs(90),
        skipped: 0,
        history,
        lines: (1..=9).map(|i| format!("line {i}")).collect(),
    }
}

#[test]
fn the_picture_has_progress_numbers_curves_and_the_last_lines() {
    let shown = picture(&view(), 100, 30);
    let bar = "epoch 3/5  batch 10/40  step 90  1:30  ETA 1:50";
    assert!(shown[0].contains(bar), "{}", shown[0]);
    assert_eq!(
        shown[1],
        " loss 0.1250  accuracy 50.0 %  lr 1.0e-3  examples/s 12,345  memory 1.2 MB"
    );
    let text = shown.join("\n");
    for title in ["┌ loss ─", "┌ accuracy ─", "┌ learning rate ─", "┌ log ─"] {
        assert!(text.contains(title), "{title} is missing in\n{text}");
    }
    for label in ["2.1000", "0.1222", "80.0 %", "40.0 %", "train", "valid"] {
        assert!(text.contains(label), "{label} is missing in\n{text}");
    }
    let dots = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
    assert!(text.chars().filter(|&c| dots(c)).count() > 60, "{text}");
    assert!(shown[28].starts_with("│line 9") && !text.contains("line 3"), "{text}");
}

#[test]
fn it_fits_any_terminal_and_any_numbers() {
    let mut empty = View { batches: None, ..View::default() };
    let mut broken = view();
    let nothing = json!({"step": 91, "loss": null, "lr": null, "grad_norm": null});
    broken.history.add(nothing.as_object().unwrap());
    let infinite = json!({"step": 92, "train loss": 1e308, "valid accuracy": -1e308});
    broken.history.add(infinite.as_object().unwrap());
    broken.epochs = usize::MAX;
    for (width, height) in [(1, 1), (10, 3), (39, 12), (80, 24), (250, 90)] {
        for view in [&view(), &empty, &broken] {
            assert_eq!(picture(view, width, height).len(), usize::from(height));
        }
    }
    empty.lines.push("a line".into());
    assert!(picture(&empty, 80, 24).join("\n").contains("epoch 0/0  batch 0  step 0  0:00\n"));
}
