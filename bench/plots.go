package main

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// colors are told apart also by those who do not see red and green (Okabe and Ito).
var colors = map[string]color.Color{
	"mass": color.RGBA{0, 114, 178, 255}, "river": color.RGBA{230, 159, 0, 255},
	"asynq": color.RGBA{204, 121, 167, 255}, "pgbench": color.RGBA{110, 110, 110, 255},
}

// plotted is the order of the contestants in a plot.
var plotted = []string{"mass", "pgbench", "river", "asynq"}

// picture is one plot.
type picture struct {
	file, title       string
	part, value, x, y string
	curves            bool // with logarithmic axes; else bars
}

func pictures() []picture {
	return []picture{
		{"post.svg", "Durable POST, workers stopped", "post", "rate", "connections", "requests/s", false},
		{"post-p99.svg", "Latency of POST, p99", "post", "p99_ms", "connections", "ms", true},
		{"done.svg", "Submit → done, sustained", "done", "rate", "workers", "requests/s", false},
		{"latency.svg", "Submit → done, p99", "latency", "p99_ms", "requests/s", "ms", true},
		{"drain.svg", "Drain of a backlog, one worker", "drain", "rate", "waiting", "requests/s", false},
	}
}

// plots draws the medians into a folder.
func (r *results) plots(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range pictures() {
		draw := r.bars
		if p.curves {
			draw = r.curves
		}
		if err := draw(filepath.Join(dir, p.file), p); err != nil {
			return fmt.Errorf("draw %s: %w", p.file, err)
		}
	}
	return nil
}

// cases are the cases of a part, by their number.
func (r *results) cases(part string) []string {
	var list []string
	for _, s := range r.Samples {
		if s.Part == part && !slices.Contains(list, s.Case) {
			list = append(list, s.Case)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return caseNumber(a) - caseNumber(b) })
	return list
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.BackgroundColor = color.White
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	p.Add(grid)
	return p
}

// bars stand in groups, one a case. What was not measured has no height.
func (r *results) bars(file string, pic picture) error {
	cases := r.cases(pic.part)
	if len(cases) == 0 {
		return nil
	}
	p := newPlot(pic.title, pic.x, pic.y)
	p.Y.Min = 0
	const width = 14
	var names []string
	for _, c := range cases {
		names = append(names, thousands(caseNumber(c)))
	}
	var there []string
	for _, contestant := range plotted {
		if slices.ContainsFunc(cases, func(c string) bool { _, ok := r.median(ref{pic.part, contestant, c, pic.value}); return ok }) {
			there = append(there, contestant)
		}
	}
	for i, contestant := range there {
		var heights plotter.Values
		for _, c := range cases {
			v, _ := r.median(ref{pic.part, contestant, c, pic.value})
			heights = append(heights, v)
		}
		bars, err := plotter.NewBarChart(heights, vg.Points(width))
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width = colors[contestant], 0
		bars.Offset = vg.Points(width * (float64(i) - float64(len(there)-1)/2))
		p.Add(bars)
		p.Legend.Add(contestantNames[contestant], bars)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Y.Max *= 1.3 // room for the legend
	p.Y.Tick.Marker = plainTicks{}
	return p.Save(16*vg.Centimeter, 9*vg.Centimeter, file)
}

// curves have logarithmic axes.
func (r *results) curves(file string, pic picture) error {
	cases := r.cases(pic.part)
	p := newPlot(pic.title, pic.x, pic.y)
	drawn := false
	for _, contestant := range plotted {
		var points plotter.XYs
		for _, c := range cases {
			if v, ok := r.median(ref{pic.part, contestant, c, pic.value}); ok && v > 0 {
				points = append(points, plotter.XY{X: float64(caseNumber(c)), Y: v})
			}
		}
		if len(points) == 0 {
			continue
		}
		curve, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		curve.Color, dots.Color, curve.Width = colors[contestant], colors[contestant], vg.Points(1.5)
		p.Add(curve, dots)
		p.Legend.Add(contestantNames[contestant], curve)
		drawn = true
	}
	if !drawn {
		return nil
	}
	var marks []plot.Tick
	for _, c := range cases {
		marks = append(marks, plot.Tick{Value: float64(caseNumber(c)), Label: thousands(caseNumber(c))})
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.ConstantTicks(marks)
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Max *= 3
	return p.Save(16*vg.Centimeter, 9*vg.Centimeter, file)
}

// plainTicks writes whole numbers with commas.
type plainTicks struct{}

// Ticks implements plot.Ticker.
func (plainTicks) Ticks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if v, err := strconv.ParseFloat(ticks[i].Label, 64); err == nil {
			ticks[i].Label = thousands(int(v))
		}
	}
	return ticks
}
