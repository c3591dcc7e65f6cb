package api

import (
	"context"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/export"
	"github.com/leomutto/pilot-in-a-box/internal/figures"
	"github.com/leomutto/pilot-in-a-box/internal/trail"
	"github.com/leomutto/pilot-in-a-box/internal/web"
)

// dialectDefault is CSV as RFC 4180 describes it.
const dialectDefault = "default"

// TableInput chooses the format of an answer that is a table, too. huma reads the
// parameters of exported structs alone.
type TableInput struct {
	Connection
	Format  string `query:"format" enum:"json,csv,ndjson" doc:"Format of the answer, which overrides Accept. csv and ndjson have all rows, without pages, and the trail records them as exports" example:"csv"`
	Dialect string `query:"dialect" enum:"default,excel,excel-tab" default:"default" doc:"Dialect of CSV. default: RFC 4180. excel: byte order mark, semicolons and decimal commas. excel-tab: UTF-16 and tabs, which every Excel opens" example:"excel"`
}

// format returns the format that the query asks for, or else the one that Accept
// prefers; "" for JSON.
func (in *TableInput) format() (export.Format, error) {
	in.writer.Header().Set("Vary", "Accept")
	chosen := in.Format
	if chosen == "" && in.Dialect == dialectDefault {
		var err error
		if chosen, err = acceptedFormat(in.request.Header.Values("Accept")); err != nil {
			return "", err
		}
	}
	switch {
	case chosen != "" && chosen != trail.CSV && in.Dialect != dialectDefault:
		return "", web.InvalidParameter("dialect", "is for CSV, and the format is "+chosen)
	case chosen == formatJSON:
		return "", nil
	case in.Dialect != dialectDefault:
		return export.Format(in.Dialect), nil
	default:
		return export.Format(chosen), nil
	}
}

// answerFigures answers with JSON, or exports the table of the same question.
func answerFigures[O any](
	ctx context.Context, s *Server, in *TableInput, answer func() (O, error), table func() (*export.Table, error),
) (*huma.StreamResponse, error) {
	format, err := in.format()
	if err != nil {
		return nil, err
	}
	if format == "" {
		body, err := answer()
		if err != nil {
			return nil, err
		}
		return in.answerJSON(body)
	}
	t, err := table()
	if err != nil {
		return nil, err
	}
	header := in.writer.Header()
	header.Set("Content-Type", format.MediaType())
	header.Set("Content-Disposition", `attachment; filename="`+t.Name+`.`+format.Extension()+`"`)
	return s.streamExport(ctx, &in.Connection, "rows", in.described(format), func() (int, error) {
		web.Outlast(in.writer, s.cfg.AnswerTimeout+s.cfg.WriteTimeout)
		w := export.NewWriter(in.writer, format, t, func() error { return s.passOn(&in.Connection) })
		err := t.Rows(ctx, w)
		if err == nil {
			err = w.Close()
		}
		return w.Rows(), err
	})
}

// described returns the question in the form in which the trail records it.
func (in *TableInput) described(format export.Format) string {
	query := in.request.URL.Query() // was parsed before
	for name, values := range query {
		if len(values) == 1 && values[0] == "" || name == "format" || name == "dialect" {
			query.Del(name)
		}
	}
	return string(format) + " " + (&url.URL{Path: in.request.URL.Path, RawQuery: query.Encode()}).String()
}

type (
	kpiInput struct {
		TableInput
		figures.KPIInput
	}
	trendInput struct {
		TableInput
		figures.TrendInput
	}
	compareInput struct {
		TableInput
		figures.CompareInput
	}
	readingsInput struct {
		TableInput
		figures.ReadingsInput
	}
)

func (s *Server) kpis(ctx context.Context, in *kpiInput) (*huma.StreamResponse, error) {
	return answerFigures(ctx, s, &in.TableInput,
		func() (*figures.KPIAnswer, error) { return s.figures.KPIs(ctx, &in.KPIInput) },
		func() (*export.Table, error) { return s.figures.KPITable(ctx, &in.KPIInput) })
}

func (s *Server) trends(ctx context.Context, in *trendInput) (*huma.StreamResponse, error) {
	return answerFigures(ctx, s, &in.TableInput,
		func() (*figures.TrendAnswer, error) { return s.figures.Trends(ctx, &in.TrendInput) },
		func() (*export.Table, error) { return s.figures.TrendTable(ctx, &in.TrendInput) })
}

func (s *Server) compare(ctx context.Context, in *compareInput) (*huma.StreamResponse, error) {
	return answerFigures(ctx, s, &in.TableInput,
		func() (*figures.CompareAnswer, error) { return s.figures.Compare(ctx, &in.CompareInput) },
		func() (*export.Table, error) { return s.figures.CompareTable(ctx, &in.CompareInput) })
}

func (s *Server) readings(ctx context.Context, in *readingsInput) (*huma.StreamResponse, error) {
	return answerFigures(ctx, s, &in.TableInput,
		func() (*figures.ReadingList, error) { return s.figures.Readings(ctx, &in.ReadingsInput) },
		func() (*export.Table, error) { return s.figures.ReadingTable(ctx, &in.ReadingsInput) })
}
