/// The style sheet of the HTML report: light and dark, from 360 pixels up, and on paper.
///
/// No `<` or `&` may stand in it, so that the document stays well-formed XML.
enum ReportStyles {
  /// Everything but the colours of bit widths.
  static let sheet: StaticString = """

    :root {
      color-scheme: light dark;
      --page: #f6f7f9; --card: #ffffff; --ink: #14191f; --muted: #56616e; --line: #d5dae0;
      --accent: #0b63a5; --soft: #9cc3e2; --plan: #b8460b; --uniform: #565b62; --limit: #9b1c4a;
      --code: #eef1f4; --good: #0b6b4f; --warn: #8a4b00;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --page: #0f1317; --card: #171c22; --ink: #e6eaee; --muted: #9ba7b4; --line: #333c46;
        --accent: #6cb8f0; --soft: #2f5f85; --plan: #ff9a5c; --uniform: #aab2bb; --limit: #ff8fb3;
        --code: #202730; --good: #5fd0a8; --warn: #f0b45f;
      }
    }
    @media print {
      :root {
        color-scheme: light;
        --page: #ffffff; --card: #ffffff; --ink: #000000; --muted: #444c55; --line: #c3c9d0;
        --accent: #0b63a5; --soft: #9cc3e2; --plan: #b8460b; --uniform: #565b62; --limit: #9b1c4a;
        --code: #f2f4f6; --good: #0b6b4f; --warn: #8a4b00;
      }
    }
    * { box-sizing: border-box; }
    body {
      margin: 0; background: var(--page); color: var(--ink);
      font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans",
        sans-serif;
      -webkit-text-size-adjust: 100%;
    }
    main, header, footer { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
    header { padding-top: 28px; }
    h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
    h2 { font-size: 1.05rem; line-height: 1.3; margin: 0 0 2px; }
    p { margin: 0 0 10px; }
    .muted, .lead { color: var(--muted); }
    .lead { overflow-wrap: anywhere; }
    .verdict { border-left: 3px solid var(--accent); padding-left: 10px; margin-top: 12px; }
    .warning { border-left: 3px solid var(--warn); padding-left: 10px; color: var(--warn); }
    .tiles { display: grid; gap: 12px; margin: 18px 0;
      grid-template-columns: repeat(auto-fit, minmax(min(100%, 176px), 1fr)); }
    .tile, section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
    .tile { padding: 12px 14px; }
    .tile p { margin: 0; }
    .tile .name { color: var(--muted); font-size: .85rem; }
    .tile .value { font-size: 1.4rem; font-weight: 650; line-height: 1.3; white-space: nowrap; }
    .tile .value small { font-size: .85rem; font-weight: 400; color: var(--muted); }
    .tile .detail { font-size: .85rem; }
    section { padding: 16px 18px 18px; margin: 0 0 16px; min-width: 0; }
    section .lead { font-size: .9rem; }
    .pair { display: grid; gap: 16px;
      grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
    .pair section { margin: 0; }
    .pair { margin-bottom: 16px; }
    .panels { display: grid; gap: 14px 28px; align-items: start;
      grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); }
    .scroll { overflow-x: auto; }
    svg { display: block; width: 100%; height: auto; margin: 0 auto 0 0; }
    svg text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans",
        sans-serif; fill: var(--ink); font-variant-numeric: tabular-nums; }
    svg .strong { font-weight: 650; }
    svg .tiny { font-size: 9.5px; }
    svg text tspan.tiny { font-size: 8.5px; }
    svg .muted { fill: var(--muted); }
    svg .end { text-anchor: end; }
    svg .middle { text-anchor: middle; }
    svg .edge { stroke: var(--line); stroke-width: .6; }
    svg rect.edge:not([class*="w"]):not(.rest) { fill: none; }
    svg .cell:hover .edge { stroke: var(--ink); stroke-width: 1.6; }
    svg .grid { stroke: var(--line); stroke-width: .7; }
    svg .axis { stroke: var(--muted); stroke-width: 1; }
    svg .limit { stroke: var(--limit); stroke-width: 1.3; stroke-dasharray: 4 3; }
    svg .front { fill: none; stroke: var(--accent); stroke-width: 1.6; }
    svg .frontDot { fill: var(--accent); }
    svg .error { stroke: var(--ink); stroke-width: 1.2; }
    svg .mark { stroke-width: 1.6; fill: var(--card); }
    svg .plan { stroke: var(--plan); }
    svg .plan.measured { fill: var(--plan); }
    svg .uniform { stroke: var(--uniform); }
    svg .uniform.measured { fill: var(--uniform); }
    svg .planLabel { fill: var(--plan); }
    svg .halo { paint-order: stroke; stroke: var(--card); stroke-width: 3px;
      stroke-linejoin: round; }
    svg .cost.predicted { fill: var(--soft); }
    svg .cost.measured { fill: var(--accent); }
    svg .rest { fill: var(--line); }
    .onlyNarrow { display: none; }
    .wide { overflow-x: auto; }
    table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
    th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line);
      vertical-align: top; }
    thead th { color: var(--muted); font-weight: 500; font-size: .85rem; vertical-align: bottom; }
    tbody th { font-weight: 500; }
    td.number, th.number { text-align: right; white-space: nowrap; }
    td.number:last-child, th.number:last-child { padding-right: 0; }
    td .sub, th .sub { display: block; color: var(--muted); font-size: .85rem; font-weight: 400; }
    tr.own th, tr.own td { color: var(--plan); font-weight: 650; }
    .hash { display: block; margin-top: 2px; color: var(--muted); }
    .name, .hash { overflow-wrap: anywhere; }
    th.name { min-width: 12em; }
    .bar { min-width: 60px; width: 34%; }
    .bar span { display: block; height: 12px; margin-top: 5px; border-radius: 2px;
      border: 1px solid var(--line); }
    .chip { display: inline-block; padding: 0 6px; margin: 1px 4px 1px 0; border-radius: 3px;
      border: 1px solid var(--line); font-size: .85rem; white-space: nowrap; }
    .legend { display: flex; flex-wrap: wrap; gap: 2px 4px; margin: 6px 0 12px; }
    code, pre { font: .85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono",
      monospace; }
    pre { background: var(--code); border-radius: 6px; padding: 10px 12px; margin: 8px 0 0;
      white-space: pre-wrap; overflow-wrap: anywhere; }
    summary { cursor: pointer; color: var(--accent); padding: 4px 0; }
    footer { color: var(--muted); font-size: .85rem; padding-bottom: 28px; }
    @media (max-width: 560px) {
      .onlyWide { display: none; }
      .onlyNarrow { display: block; }
      main, header, footer { padding-left: 12px; padding-right: 12px; }
      header { padding-top: 18px; }
      section { padding: 12px 12px 14px; }
      .tiles { gap: 8px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 140px), 1fr)); }
      .tile { padding: 9px 10px; }
      .tile .value { font-size: 1.2rem; }
      .tile .value small, .tile .detail { font-size: .8rem; }
      table, .chip { font-size: .74rem; }
      th, td { padding-right: 5px; }
      .chip { padding: 0 4px; }
      th.number { white-space: normal; }
      td .sub { white-space: normal; }
      td .sub, th .sub, thead th { font-size: .72rem; }
      th.name { min-width: 9em; }
    }
    @media print {
      html { font-size: 11px; }
      body { font-size: 10px; }
      h1 { font-size: 20px; }
      .tiles { grid-template-columns: repeat(6, 1fr); gap: 6px; margin: 10px 0; }
      .tile { padding: 6px 8px; }
      .tile .value { font-size: 14px; white-space: normal; }
      .pair, .panels.two { grid-template-columns: 1fr 1fr; gap: 10px; }
      .panels { grid-template-columns: 1fr 1fr 1fr; gap: 10px; }
      section { padding: 8px 10px; margin-bottom: 10px; }
      th, td { padding: 2px 6px 2px 0; }
      td .sub { white-space: normal; }
      th.name { width: 38%; }
      main, header, footer { max-width: none; padding: 0; }
      section, .tile { break-inside: avoid; border-color: #c3c9d0; }
      section.long { break-inside: auto; }
      tr { break-inside: avoid; }
      .scroll, .wide { overflow: visible; }
      svg { min-width: 0 !important; }
      svg *, .chip, .bar span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
      details::details-content { content-visibility: visible; display: block; height: auto; }
      summary { display: none; }
    }

    """

  /// Classes `w4`, `i4` and `c4`: fill, text and box of a bit width.
  static var shades: String {
    Palette.shades.map { shade in
      let (fill, ink) = (Palette.css(shade.fill), Palette.css(shade.ink))
      return """
        svg .w\(shade.bitWidth) { fill: \(fill); }
        svg .i\(shade.bitWidth) { fill: \(ink); }
        .c\(shade.bitWidth) { background: \(fill); color: \(ink); }

        """
    }.joined()
  }
}
