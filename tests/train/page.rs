//! What a run leaves to look at.

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::data::{DataLoader, DataLoaderBuilder, InMemDataset, Stack};
use kiln::prelude::*;
use kiln::train::{Accuracy, ConfusionMatrix, Event, Flow, Step, Stop, Trainer, TrainerConfig};

use crate::checkpoint::Folder;

type Batch = (Tensor<2>, Tensor<1, Int>);

fn points() -> DataLoader<Batch> {
    let point = |i: usize| ([i as f32 / 20.0 - 1.0, (i % 3) as f32], i64::from(i >= 20));
    let points = InMemDataset::new((0..40).map(point).collect::<Vec<_>>());
    DataLoaderBuilder::new(Stack).batch_size(8).build(points)
}

fn step(model: &Linear, (x, y): &Batch) -> Step {
    let logits = model.forward(x);
    Step::new(CrossEntropyLoss::new().forward(&logits, y)).with_output(logits, y)
}

pub fn config(epochs: usize, folder: &Path) -> TrainerConfig {
    let config = TrainerConfig::new(epochs).with_folder(folder).with_resume(true);
    config.with_progress(false).with_handle_interrupt(false)
}

pub fn fit(mut trainer: Trainer) -> kiln::Result<kiln::train::Report> {
    let device = Device::cpu();
    let mut model = LinearConfig::new(2, 2)
        .with_initializer(Initializer::Constant { value: 0.1 })
        .init(&device);
    let mut optim = AdamWConfig::new(0.05).init();
    trainer.fit(&mut model, &mut optim, &points(), Some(&points()), step)
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn the_folder_has_curves_and_a_page_after_the_first_epoch_and_at_the_end() {
    let folder = Folder::new("page");
    let seen = folder.0.clone();
    let trainer =
        config(3, &folder.0).init().metric(Accuracy::new()).metric(ConfusionMatrix::new(2));
    let trainer = trainer.settings(&LinearConfig::new(2, 2)).callback(move |event: &Event<'_>| {
        if matches!(event, Event::Epoch(epoch) if epoch.epoch == 0) {
            let page = read(&seen, "report.html");
            assert!(page.contains(">running<") && page.contains("http-equiv=\"refresh\""));
            assert!(page.contains("Epoch 2 of 3. Best valid loss"));
            assert!(seen.join("curves.svg").exists());
        }
        Ok(Flow::Continue)
    });
    let report = fit(trainer).unwrap();
    let svg = read(&folder.0, "curves.svg");
    for panel in ["loss", "accuracy", "learning rate", "gradient norm", "train", "valid"] {
        assert!(svg.contains(&format!(">{panel}</text>")), "{panel} is missing");
    }
    assert!(svg.contains("prefers-color-scheme: dark"));

    let page = read(&folder.0, "report.html");
    let best = format!("Best valid loss {:.4} after step 15 (epoch 3).", report.best[0].value);
    let matrix = report.valid.as_ref().unwrap().metric::<ConfusionMatrix>().unwrap();
    let count = format!(" %\">{}</td>", matrix.count(1, 1));
    for text in [
        ">finished<",
        &best,
        "All epochs are done.",
        "<svg ",
        &count,
        "<td>weight [2, 2], bias [2]</td>",
        "<td>Linear</td>",
        "<th>Optimizer</th><td><code>AdamW</code>",
        "<th>epochs</th><td><code>3</code>",
        "<th>inputs</th><td><code>2</code>",
        "<th>Threads</th>",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
    assert!(!page.contains("refresh") && !page.contains("<script"));
    for outside in ["src=", "href=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // Nothing but the name of the SVG's language is an address.
    assert_eq!(page.matches("http://").count(), page.matches("xmlns=\"http://").count());
    assert!(!page.contains("https://"));
}

#[test]
fn a_run_in_pieces_shows_the_curves_of_the_whole() {
    let (whole, pieces) = (Folder::new("page-whole"), Folder::new("page-pieces"));
    // The title is that of the folder.
    let (whole, pieces) = (whole.0.join("run"), pieces.0.join("run"));
    fit(config(4, &whole).init().metric(Accuracy::new())).unwrap();
    let stop = |steps| config(4, &pieces).with_max_steps(steps).init().metric(Accuracy::new());
    assert_eq!(fit(stop(7)).unwrap().stop, Stop::MaxSteps);
    let page = read(&pieces, "report.html");
    assert!(
        page.contains(">stopped<") && page.contains("Stopped after step 7: the largest number")
    );
    let part = read(&pieces, "curves.svg");
    fit(stop(1000)).unwrap();
    assert_ne!(part, read(&pieces, "curves.svg"));
    // But for the validation where the run stopped.
    let curves = |folder: &Path| -> Vec<String> {
        let svg = read(folder, "curves.svg");
        svg.lines().filter(|line| !line.contains("line line1")).map(String::from).collect()
    };
    assert_eq!(curves(&whole), curves(&pieces));
    assert!(read(&pieces, "report.html").contains(" UTC (resumed)"));
    // The table of epochs, and what was best, know all of it.
    let table = |folder: &Path| {
        let page = read(folder, "report.html");
        let table = page.split("<h2>Epochs</h2>").nth(1).unwrap();
        table.split("<h2>").next().unwrap().matches("<tr").count()
    };
    assert_eq!(table(&whole), table(&pieces));
}

#[test]
fn a_run_that_fails_says_why() {
    let folder = Folder::new("page-failed");
    let trainer = config(2, &folder.0).init().callback(|event: &Event<'_>| match event {
        Event::Step(step) if step.step == 6 => {
            Err(kiln::Error::Argument { op: "disk", rule: "full of <cats>".into() })
        }
        _ => Ok(Flow::Continue),
    });
    assert!(fit(trainer).is_err());
    let page = read(&folder.0, "report.html");
    assert!(page.contains(">failed<"));
    assert!(page.contains("Failed after step 6: disk: full of &lt;cats&gt;."), "{page}");
}

/// A run whose folder, metrics and settings try to get code into the page.
fn hostile(folder: &Path) -> PathBuf {
    #[derive(Config, Debug)]
    struct Settings {
        note: String,
    }
    let attack = "<script>document.title='broken'</script><img src=x onerror=alert(1)>\"'&";
    let folder = folder.join("a<script>alert(1)<\u{29f8}script>&\"b");
    let settings = Settings { note: attack.into() };
    let mut trainer = config(2, &folder)
        .init()
        .metric(Accuracy::new())
        .metric(ConfusionMatrix::new(2))
        .settings(&settings);
    let device = Device::cpu();
    let mut model = LinearConfig::new(2, 2).init(&device);
    let mut optim = SgdConfig::new(0.05).init();
    let fit = trainer.fit(&mut model, &mut optim, &points(), Some(&points()), |model, batch| {
        step(model, batch).with_value(attack, 1.0)
    });
    fit.unwrap();
    folder
}

#[test]
fn names_and_paths_are_text_in_the_page() {
    let folder = Folder::new("page-hostile");
    let folder = hostile(&folder.0);
    for name in ["report.html", "curves.svg"] {
        let text = read(&folder, name);
        assert!(!text.contains("<script") && !text.contains("<img"), "{name}");
        assert!(text.contains("&lt;script&gt;"), "{name}");
    }
}

#[test]
fn a_browser_shows_the_page_without_a_complaint() {
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let Some(browser) = browser.into_iter().find(|path| Path::new(path).exists()) else {
        println!("skipped: there is no Chromium");
        return;
    };
    let folder = Folder::new("page-browser");
    let run = hostile(&folder.0);
    // A name that needs no quoting as an address.
    let page = folder.0.join("page.html");
    std::fs::copy(run.join("report.html"), &page).unwrap();
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", folder.0.join("profile").display()))
        .args(["--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let (shown, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let console: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    for text in ["All epochs are done.", "Confusion matrix", "learning rate", "Environment"] {
        assert!(shown.contains(text), "{text} is missing");
    }
    // The title is what the folder is called, and no script changed it.
    assert!(shown.contains("<title>a&lt;script&gt;alert(1)"), "{shown}");
}
