//! Returns much more than its input.

support::guest!("output-flood", "Hostile::Output", |_, _| {
    let mut flood = br#"{"entities": []"#.to_vec();
    flood.resize(8 << 20, b' ');
    flood.push(b'}');
    Ok(flood)
});
