"""The look of the HTML report: one sheet, light and dark, on screen and on paper."""

STYLE = """
:root{color-scheme:light dark;--bg:#f5f6f8;--card:#fff;--text:#1b1f24;--soft:#59636e;--line:#d5dae0;
--faint:#eceff2;--good:#17692f;--good-bg:#e3f4e7;--bad:#ad1f27;--bad-bg:#fdeaea;--warn:#7d4e00;
--warn-bg:#fdf1d8;--idle:#4d5762;--idle-bg:#eaedf0;--link:#0a58b8;--ours:#2f6fc4;--others:#98a2ad;
--ram:#18806f;--start:#aeb7c0;--load:#9a86c9;--place:#c3a3d6;--encode:#3f9d8c;--denoise:#e0a03c;--decode:#d2707a;
--save:#7fa8d8;--on-phase:#14181c}
@media (prefers-color-scheme:dark){:root{--bg:#111418;--card:#191d23;--text:#e7eaee;--soft:#a3adb8;
--line:#363d46;--faint:#242a31;--good:#74d48d;--good-bg:#16301e;--bad:#ff9a96;--bad-bg:#3a1a1c;
--warn:#f0c264;--warn-bg:#35290f;--idle:#b3bcc6;--idle-bg:#272d34;--link:#7db4ff;--ours:#5b9bef;
--others:#6b7682;--ram:#43b5a0;--start:#8a96a2;--load:#8f7bc4;--place:#a98abf;--encode:#3f9d8c;--denoise:#d99a35;
--decode:#cf6b76;--save:#6d99cc}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:16px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:960px;margin:0 auto;padding:0 20px}
header{padding-top:32px}
h1{font-size:1.7rem;line-height:1.25;margin:10px 0 6px;letter-spacing:-.01em}
h2{font-size:1.15rem;margin:36px 0 12px}
h3{font-size:1rem;margin:0 0 4px;line-height:1.4}
p{margin:6px 0}
a{color:var(--link)}
.soft{color:var(--soft)}
.small{font-size:.875rem}
.badge{display:inline-block;border-radius:99px;padding:1px 11px;font-size:.8125rem;font-weight:600;
white-space:nowrap}
.good{color:var(--good);background:var(--good-bg)}
.bad{color:var(--bad);background:var(--bad-bg)}
.warn{color:var(--warn);background:var(--warn-bg)}
.idle{color:var(--idle);background:var(--idle-bg)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;
margin:0 0 12px}
.card.first{border-left:5px solid var(--bad)}
.card.first.is-warn{border-left-color:var(--warn)}
.top{display:flex;flex-wrap:wrap;gap:4px 12px;align-items:baseline;justify-content:space-between}
code,pre{font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
.id{color:var(--soft);font-size:.8125rem}
pre{background:var(--faint);border-radius:6px;padding:10px 12px;margin:8px 0;white-space:pre-wrap}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:5px 20px;margin:0}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0;min-width:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;
margin:0 0 14px;padding:0;list-style:none}
.tiles li{background:var(--faint);border-radius:8px;padding:10px 14px}
.tiles b{display:block;font-size:1.3rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tiles span{font-size:.8125rem;color:var(--soft)}
.shots{display:grid;grid-template-columns:repeat(3,1fr);gap:14px;
margin:0 0 16px}
figure{margin:0}
figure img{width:100%;height:auto;display:block;border-radius:8px;border:1px solid var(--line);
background:var(--faint)}
figure .none{aspect-ratio:1;border-radius:8px;border:1px dashed var(--line);display:grid;
place-items:center;padding:12px;text-align:center;color:var(--soft);font-size:.875rem}
figcaption{font-size:.8125rem;color:var(--soft);margin-top:6px}
.scroll{overflow-x:auto}
.timeline{display:block;width:100%;min-width:640px;height:auto;margin:4px 0}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:2px 0 10px;padding:0;list-style:none;
font-size:.8125rem;color:var(--soft)}
.legend svg{width:16px;height:12px;vertical-align:-1px;margin-right:6px}
.timeline text{font:11.5px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;
fill:var(--soft)}
.timeline .mid{text-anchor:middle}.timeline .end{text-anchor:end}
.timeline .axis-title{font-weight:600}
.timeline .phase{fill:var(--on-phase);font-size:11px}
.timeline .peak-text{fill:var(--text);font-weight:600;paint-order:stroke;stroke:var(--card);
stroke-width:4px;stroke-linejoin:round}
.grid{stroke:var(--line);stroke-width:1}.base{stroke:var(--soft);stroke-width:1}
.a-ours{fill:var(--ours);opacity:.3}.l-ours{fill:none;stroke:var(--ours);stroke-width:2}
.a-others{fill:var(--others);opacity:.55}
.a-ram{fill:var(--ram);opacity:.25}.l-ram{fill:none;stroke:var(--ram);stroke-width:2}
.legend .a-ours,.legend .a-others,.legend .a-ram{opacity:.75}
.l-total{stroke:var(--soft);stroke-width:1.5;stroke-dasharray:6 4}
.peak{fill:var(--card);stroke:var(--text);stroke-width:2}
.p-start{fill:var(--start)}.p-load{fill:var(--load)}.p-place{fill:var(--place)}.p-encode{fill:var(--encode)}
.p-denoise{fill:var(--denoise)}.p-decode{fill:var(--decode)}.p-save{fill:var(--save)}
table{border-collapse:collapse;width:100%;font-size:.9375rem}
th,td{text-align:left;vertical-align:top;padding:8px 12px 8px 0;border-top:1px solid var(--line)}
th{color:var(--soft);font-weight:600;font-size:.8125rem}
thead th{border-top:0}
td.num,th.num{text-align:right;font-variant-numeric:tabular-nums;padding-right:0}
summary{cursor:pointer;font-weight:600}
details{margin:0 0 10px}
details.card[open] summary{margin-bottom:8px}
summary .soft{font-weight:400}
.finding{border-top:1px solid var(--line);padding:11px 0}
.finding:last-child{padding-bottom:0}
ol.steps{margin:0;padding:0;list-style:none}
footer{padding-bottom:40px;margin-top:36px;color:var(--soft);font-size:.875rem}
:focus-visible{outline:3px solid var(--link);outline-offset:2px;border-radius:4px}
@media (max-width:560px){h1{font-size:1.35rem}dl.facts{grid-template-columns:1fr;gap:0}
dl.facts dd{margin-bottom:8px}main,header,footer{padding-left:14px;padding-right:14px}
.card{padding:14px}.shots{gap:8px}
.tiles{grid-template-columns:1fr 1fr}}
@media print{:root{--bg:#fff}body{font-size:11pt}.card,figure,tr,.finding{break-inside:avoid}
h2{break-after:avoid}.timeline{min-width:0}details:not([open])>:not(summary){display:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
