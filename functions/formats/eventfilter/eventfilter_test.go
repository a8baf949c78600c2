package eventfilter

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

const order = `{"specversion":"1.0","id":"1","source":"/shop/eu","type":"com.example.order.created","subject":"o-7","priority":3,"gift":true,"data":{"total":120.5,"lines":[1,2]}}`

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		types  []string
		filter string
		event  string
		want   bool
	}{
		{nil, "", order, true},
		{nil, "null", order, true},
		{[]string{"com.example.order.created"}, "", order, true},
		{[]string{"x", "com.example.*"}, "", order, true},
		{[]string{"*"}, "", order, true},
		{[]string{"com.example.order"}, "", order, false},
		{nil, `[{"exact":{"subject":"o-7","source":"/shop/eu"}}]`, order, true},
		{nil, `[{"exact":{"subject":"o-7","source":"/shop"}}]`, order, false},
		{nil, `[{"exact":{"priority":"3","gift":"true"}}]`, order, true},
		{nil, `[{"exact":{"missing":"3"}}]`, order, false},
		{nil, `[{"prefix":{"source":"/shop/"}},{"suffix":{"source":"/eu"}}]`, order, true},
		{nil, `[{"prefix":{"source":"/shop/"}},{"suffix":{"source":"/us"}}]`, order, false},
		{nil, `[{"cel":"event.data.total > 100 && size(event.data.lines) == 2"}]`, order, true},
		{nil, `[{"cel":"event.data.total > 1000.0"}]`, order, false},
		{nil, `[{"cel":"event.data.nothing > 100"}]`, order, false},
		{nil, `[{"cel":"!has(event.data.nothing)"}]`, order, true},
		{nil, `[{"cel":"event.type.startsWith('com.')"}]`, order, true},
		{nil, `[{"cel":"event.gift"}]`, order, true},
		{nil, `[{"cel":"event.subject"}]`, order, false},
		{nil, "", "[", false},
	} {
		f, bad := Compile(c.types, json.RawMessage(c.filter))
		require.Empty(t, bad, c.filter)
		require.Equal(t, c.want, f.Match([]byte(c.event)), "%v %s", c.types, c.filter)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		types        []string
		filter, says string
	}{
		{[]string{""}, "", `types[0]: is ""`},
		{[]string{"a b"}, "", `types[0]: is "a b"`},
		{make([]string, 65), "", "types: names 65 types"},
		{nil, `{}`, "filter: is no list"},
		{nil, `[{}]`, "filter[0]: is no clause"},
		{nil, `[{"exact":{"type":"x"},"cel":"true"}]`, "filter[0]: is no clause"},
		{nil, `[{"exect":{"type":"x"}}]`, "filter[0].exect: is no clause did you mean exact?"},
		{nil, `[{"exact":{"data":"x"}}]`, "filter[0].exact.data: is no attribute"},
		{nil, `[{"exact":{"A-b":"x"}}]`, "filter[0].exact.A-b: is no attribute"},
		{nil, `[{"prefix":{"type":""}}]`, "filter[0].prefix.type: is empty"},
		{nil, `[{"suffix":"x"}]`, "filter[0].suffix: is no mapping"},
		{nil, `[{"cel":7}]`, "filter[0].cel: is no text"},
		{nil, `[{"cel":"event."}]`, "filter[0].cel: "},
		{nil, `[{"cel":"nothing == 1"}]`, "filter[0].cel: undeclared reference"},
		{nil, `[{"cel":"1 + 1"}]`, "filter[0].cel: gives int"},
	} {
		_, bad := Compile(c.types, json.RawMessage(c.filter))
		require.NotEmpty(t, bad, c.filter)
		require.Contains(t, bad[0].Path+": "+bad[0].Message+" "+bad[0].Remedy, c.says)
		require.NotEmpty(t, bad[0].Remedy)
	}
}
