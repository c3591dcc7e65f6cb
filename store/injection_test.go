package store_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The text of every statement of the program is made of constants of the program,
// of numbers, and of nothing else: values travel as parameters. This test proves
// it for every call that takes a statement, by following the text back to where it
// comes from.
func TestStatementsAreMadeOfConstants(t *testing.T) {
	t.Parallel()
	statements, folders := 0, map[string]bool{}
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || path == "../bench" || path == "../deploy" || path != ".." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir // others' modules, and no code
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			folders[filepath.Dir(path)] = true
		}
		return nil
	}))
	require.Greater(t, len(folders), 20)
	delete(folders, "../internal/pgconn") // a driver: it passes on the statements of the calls that are proven here
	for folder := range folders {
		files := map[string]string{}
		names, err := filepath.Glob(folder + "/*.go")
		require.NoError(t, err)
		for _, name := range names {
			if !strings.HasSuffix(name, "_test.go") {
				raw, err := os.ReadFile(name)
				require.NoError(t, err)
				files[name] = string(raw)
			}
		}
		found, wrong := unprovenStatements(t, files)
		assert.Empty(t, wrong, folder)
		statements += found
	}
	require.Greater(t, statements, 80, "of which store has most")
}

func TestTheProofOfStatementsCanFail(t *testing.T) {
	t.Parallel()
	const head = "package p\nimport (\"context\"; \"fmt\"; \"strings\")\nvar db interface{}\nconst columns = `a, b`\n"
	for body, fine := range map[string]bool{
		"func f(ctx context.Context, id int64) { db.ExecContext(ctx, `SELECT ` + columns + ` FROM t WHERE id = $1`, id) }":                                                                                                          true,
		"func f(ctx context.Context, n int) { db.ExecContext(ctx, fmt.Sprintf(`SELECT $%d`, n)) }":                                                                                                                                  true,
		"func f(ctx context.Context) { w := []string{`a`}; w = append(w, `b`); db.SelectContext(ctx, nil, strings.Join(w, ` AND `)) }":                                                                                              true,
		"func f(ctx context.Context) { g(ctx, `SELECT 1`) }\nfunc g(ctx context.Context, query string) { db.ExecContext(ctx, query) }":                                                                                              true,
		"func f(ctx context.Context, name string) { db.ExecContext(ctx, `SELECT ` + name) }":                                                                                                                                        false,
		"func F(ctx context.Context, query string) { db.ExecContext(ctx, query) }":                                                                                                                                                  false,
		"func f(ctx context.Context, name string) { db.ExecContext(ctx, fmt.Sprintf(`SELECT '%s'`, name)) }":                                                                                                                        false,
		"func f(ctx context.Context, name string) { db.ExecContext(ctx, fmt.Sprintf(`SELECT %d`, name)) }":                                                                                                                          false,
		"func f(ctx context.Context, name string) { q := `SELECT `; q += name; db.ExecContext(ctx, q) }":                                                                                                                            false,
		"func F(ctx context.Context, name string) { g(ctx, name) }\nfunc g(ctx context.Context, query string) { db.QueryRowContext(ctx, query) }":                                                                                   false,
		"func F(ctx context.Context, name string) { w := []string{`a`}; add := func(s string) { w = append(w, s) }; add(name); db.GetContext(ctx, nil, strings.Join(w, ` AND `)) }":                                                 false,
		"func f(ctx context.Context, x string) { db.ExecContext(ctx, strings.ReplaceAll(`SELECT @a`, x, `$1`)) }":                                                                                                                   true,
		"func f(ctx context.Context, x string) { db.ExecContext(ctx, strings.ReplaceAll(`SELECT @a`, `@a`, x)) }":                                                                                                                   false,
		"type c[T any] struct { name string }\nvar l = []c[int]{{name: `a`}}\nfunc f(ctx context.Context) { db.ExecContext(ctx, g(l)) }\nfunc g[T any](l []c[T]) string { t := ``; for _, x := range l { t += x.name }; return t }": true,
		"type c[T any] struct { name string }\nfunc F(ctx context.Context, x string) { db.ExecContext(ctx, g([]c[int]{{name: x}})) }\nfunc g[T any](l []c[T]) string { t := ``; for _, x := range l { t += x.name }; return t }":    false,
		"func f(ctx context.Context, b []byte) { db.QueryContext(ctx, string(b)) }":                                                                                                                                                 false,
		"func f(ctx context.Context, name string) { db.QueryContext(ctx, g(name)) }\nfunc g(s string) string { return `SELECT ` + s }":                                                                                              false,
		"func F(ctx context.Context) { h(g); g(ctx, `SELECT 1`) }\nfunc h(func(context.Context, string)) {}\nfunc g(ctx context.Context, q string) { db.QueryContext(ctx, q) }":                                                     false,
		"func f(ctx context.Context) { var q string; fill(&q); db.QueryContext(ctx, q) }":                                                                                                                                           false,
		"type Q struct { Text string }\nfunc F(ctx context.Context, x Q) { db.QueryContext(ctx, x.Text) }":                                                                                                                          false,
		"type q struct { text string }\nfunc F(ctx context.Context, name string) { x := q{text: name}; db.QueryContext(ctx, x.text) }":                                                                                              false,
	} {
		found, wrong := unprovenStatements(t, map[string]string{"p.go": head + body})
		require.Equal(t, 1, found, body)
		require.Equal(t, fine, len(wrong) == 0, "%s\n%v", body, wrong)
	}
}

// takesStatement are the methods of database/sql, of its drivers and of sqlx that take a statement.
var takesStatement = regexp.MustCompile(`^(Named|Must)?(Query|QueryRow|Exec|Get|Select|Prepare)x?(Named)?Context$`)

// quotes are functions whose result is safe in a statement, whatever they are given.
var quotes = map[string]bool{"pq.QuoteIdentifier": true, "pq.QuoteLiteral": true}

// provenance follows text through the files of one package.
type provenance struct {
	info    *types.Info
	sources map[types.Object][]ast.Expr    // what is assigned to a variable, a field or a parameter
	params  map[types.Object]bool          // all parameters
	open    map[types.Object]bool          // what others than the assignments and calls of this package may give
	ranges  map[types.Object]ast.Expr      // over which a variable runs
	returns map[ast.Node][]*ast.ReturnStmt // of a function
	bodies  map[types.Object]*ast.FuncType // the functions by name
	nodes   map[*ast.FuncType]ast.Node     // whose type it is
	results map[types.Object]tupleElement  // variables that take one of several results
	seen    map[types.Object]bool          // under examination: a variable may be a part of itself
}

type tupleElement struct {
	call *ast.CallExpr
	i    int
}

// unprovenStatements returns how many calls take a statement, and those whose
// text is not proven. Imports are not followed, and need not be.
func unprovenStatements(t *testing.T, files map[string]string) (found int, wrong []string) {
	t.Helper()
	fset := token.NewFileSet()
	var list []*ast.File
	for name, text := range files {
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		require.NoError(t, err)
		list = append(list, f)
	}
	p := &provenance{
		info:    &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}},
		sources: map[types.Object][]ast.Expr{}, params: map[types.Object]bool{}, open: map[types.Object]bool{}, ranges: map[types.Object]ast.Expr{},
		returns: map[ast.Node][]*ast.ReturnStmt{}, bodies: map[types.Object]*ast.FuncType{}, nodes: map[*ast.FuncType]ast.Node{},
		results: map[types.Object]tupleElement{},
	}
	conf := types.Config{Importer: noImports{}, Error: func(error) {}} // without its imports a package has errors, but names are resolved
	_, _ = conf.Check("p", fset, list, p.info)
	for _, f := range list {
		p.functions(f)
	}
	for _, f := range list {
		p.assignments(f)
	}
	p.values(list)
	for _, f := range list {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if text := p.statement(call); text != nil {
				found++
				p.seen = map[types.Object]bool{}
				if !p.safe(text) {
					wrong = append(wrong, fset.Position(text.Pos()).String())
				}
			}
			return true
		})
	}
	return found, wrong
}

type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}

// statement returns the argument of a call that is a statement; nil when there is none.
func (p *provenance) statement(call *ast.CallExpr) ast.Expr {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !takesStatement.MatchString(sel.Sel.Name) {
		return nil
	}
	at := 1 // behind the context
	if strings.HasPrefix(sel.Sel.Name, "Get") || strings.HasPrefix(sel.Sel.Name, "Select") {
		at = 2 // and the destination
	}
	if len(call.Args) <= at || call.Ellipsis.IsValid() && len(call.Args) == at+1 {
		return nil // parameters of a prepared statement
	}
	if b, ok := p.typeOf(call.Args[at]).(*types.Basic); ok && b.Info()&types.IsNumeric != 0 {
		return nil // the same
	}
	return call.Args[at]
}

func (p *provenance) typeOf(e ast.Expr) types.Type {
	if typ := p.info.TypeOf(e); typ != nil {
		return typ.Underlying()
	}
	return nil
}

func (p *provenance) object(e ast.Expr) types.Object {
	var o types.Object
	switch e := e.(type) {
	case *ast.Ident:
		o = p.info.ObjectOf(e)
	case *ast.SelectorExpr:
		o = p.info.ObjectOf(e.Sel)
	}
	if v, ok := o.(*types.Var); ok { // a field of a generic type has an object for each of the types
		return v.Origin()
	}
	return o
}

// parameters enters the parameters of a function in a set.
func (p *provenance) parameters(typ *ast.FuncType, into map[types.Object]bool) {
	for _, field := range typ.Params.List {
		for _, param := range field.Names {
			into[p.info.ObjectOf(param)] = true
		}
	}
}

// functions notes the functions of a file, their returns and their parameters.
func (p *provenance) functions(f *ast.File) {
	enter := func(name types.Object, typ *ast.FuncType, node ast.Node, body *ast.BlockStmt) {
		p.bodies[name], p.nodes[typ] = typ, node
		if fn, ok := name.(*types.Func); ok && fn.Exported() {
			p.parameters(typ, p.open)
		}
		if body == nil {
			return
		}
		ast.Inspect(body, func(n ast.Node) bool {
			if r, ok := n.(*ast.ReturnStmt); ok {
				p.returns[node] = append(p.returns[node], r)
			}
			_, inner := n.(*ast.FuncLit)
			return !inner
		})
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncType:
			p.parameters(n, p.params)
		case *ast.FuncDecl:
			enter(p.info.ObjectOf(n.Name), n.Type, n, n.Body)
		case *ast.AssignStmt:
			for i, right := range n.Rhs {
				if lit, ok := right.(*ast.FuncLit); ok && len(n.Lhs) == len(n.Rhs) {
					enter(p.object(n.Lhs[i]), lit.Type, lit, lit.Body)
				}
			}
		}
		return true
	})
}

// assignments notes where the values of variables, fields and parameters come from.
func (p *provenance) assignments(f *ast.File) {
	give := func(to ast.Expr, from ast.Expr) {
		if index, ok := to.(*ast.IndexExpr); ok {
			to = index.X
		}
		if o := p.object(to); o != nil {
			p.sources[o] = append(p.sources[o], from)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if len(n.Rhs) == len(n.Lhs) {
					give(left, n.Rhs[i])
				} else if call, ok := n.Rhs[0].(*ast.CallExpr); ok {
					give(left, call)
					if o := p.object(left); o != nil {
						p.results[o] = tupleElement{call, i}
					}
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) {
					give(name, n.Values[i])
				}
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok {
				give(key, n.Value)
			}
		case *ast.UnaryExpr:
			if o := p.object(n.X); o != nil && n.Op == token.AND {
				p.open[o] = true // others write there
			}
		case *ast.RangeStmt:
			if o := p.object(n.Value); o != nil {
				p.ranges[o] = n.X
			}
		case *ast.CallExpr:
			typ := p.bodies[p.object(n.Fun)]
			if typ == nil {
				return true
			}
			i := 0
			for _, field := range typ.Params.List {
				for _, param := range field.Names {
					if i < len(n.Args) {
						give(param, n.Args[i])
					}
					i++
				}
			}
		}
		return true
	})
}

// values opens the parameters of functions that are used otherwise than by calling
// them: nobody knows what they are given.
func (p *provenance) values(files []*ast.File) {
	called := map[*ast.Ident]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				switch fun := call.Fun.(type) {
				case *ast.Ident:
					called[fun] = true
				case *ast.SelectorExpr:
					called[fun.Sel] = true
				}
			}
			return true
		})
	}
	for name, o := range p.info.Uses {
		if typ := p.bodies[o]; typ != nil && !called[name] {
			p.parameters(typ, p.open)
		}
	}
}

// safe tells whether a text, or every text of a list, is made of constants and numbers.
func (p *provenance) safe(e ast.Expr) bool {
	if p.info.Types[e].Value != nil {
		return true
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.ParenExpr:
		return p.safe(e.X)
	case *ast.BinaryExpr:
		return e.Op == token.ADD && p.safe(e.X) && p.safe(e.Y)
	case *ast.IndexExpr:
		return p.safe(e.X)
	case *ast.CompositeLit:
		return p.all(e.Elts)
	case *ast.CallExpr:
		return p.safeCall(e, 0)
	case *ast.Ident, *ast.SelectorExpr:
		return p.safeObject(p.object(e))
	}
	return false
}

func (p *provenance) all(list []ast.Expr) bool {
	for _, e := range list {
		if !p.safe(e) {
			return false
		}
	}
	return true
}

// safeObject judges a variable, a field or a parameter by all that it is ever given.
func (p *provenance) safeObject(o types.Object) bool {
	if _, constant := o.(*types.Const); constant {
		return true
	}
	if v, ok := o.(*types.Var); !ok || p.open[o] || v.IsField() && v.Exported() {
		return false
	}
	if p.seen[o] {
		return true
	}
	p.seen[o] = true
	if over := p.ranges[o]; over != nil {
		return p.safe(over)
	}
	for _, from := range p.sources[o] {
		if part, ok := p.results[o]; ok && part.call == from {
			if !p.safeCall(part.call, part.i) {
				return false
			}
		} else if !p.safe(from) {
			return false
		}
	}
	return len(p.sources[o]) > 0 || !p.params[o] // without a source it has the zero value
}

// safeCall judges the result with this number of a call.
func (p *provenance) safeCall(call *ast.CallExpr, result int) bool {
	switch name := types.ExprString(call.Fun); {
	case name == "append", name == "strings.Join":
		return p.all(call.Args)
	case name == "strings.ReplaceAll", name == "strings.Replace": // the replaced text does not get into the result
		return p.safe(call.Args[0]) && p.safe(call.Args[2])
	case name == "make", quotes[name]:
		return true
	case name == "fmt.Sprintf":
		if !p.safe(call.Args[0]) {
			return false
		}
		for _, number := range call.Args[1:] {
			if b, ok := p.typeOf(number).(*types.Basic); !ok || b.Info()&types.IsInteger == 0 {
				return false
			}
		}
		return true
	}
	typ := p.bodies[p.object(call.Fun)]
	if typ == nil {
		return false
	}
	for _, r := range p.returns[p.nodes[typ]] {
		switch {
		case result < len(r.Results):
			if !p.safe(r.Results[result]) {
				return false
			}
		case len(r.Results) == 1: // return f()
			inner, ok := r.Results[0].(*ast.CallExpr)
			if !ok || !p.safeCall(inner, result) {
				return false
			}
		default: // the named results
			i := 0
			for _, field := range typ.Results.List {
				for _, name := range field.Names {
					if i == result && !p.safeObject(p.info.ObjectOf(name)) {
						return false
					}
					i++
				}
			}
		}
	}
	return true
}
