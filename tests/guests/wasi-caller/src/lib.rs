//! Tries what a standard library offers: files, the clock, the environment.

support::guest!("wasi-caller", "Hostile::Wasi", |context, resources| {
    let text = String::from_utf8_lossy(&resources).into_owned();
    for name in support::values(&text, "Name") {
        match name {
            "file" => drop(std::fs::read("/etc/passwd")),
            "clock" => drop(std::time::SystemTime::now()),
            "sleep" => std::thread::sleep(std::time::Duration::from_secs(60)),
            "env" => drop(std::env::var("AWS_SECRET_ACCESS_KEY")),
            "print" => println!("hello"),
            _ => {}
        }
    }
    Ok(support::map("wasi-caller", &resources, context.output))
});
