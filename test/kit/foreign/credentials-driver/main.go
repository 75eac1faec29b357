// A credentials driver that shares nothing with the gateway but the contract: another language, another gRPC stack. It
// gets its tokens from a real identity provider by client credentials, a new one at each call.
//
// Arguments: socket, token endpoint, client id. Environment: CLIENT_SECRET.
// Standard input, a line each: "as NAME MODE [NUMBER]" sets what NAME does from now on.
//
//	ok            a token with its true expiry
//	slow MS       the same, so much later
//	expires MS    the same, with an expiry so far from now
//	text KIND     a token that no header may carry: empty, line, umlaut
//	bytes         an answer that is no message
//	fail CODE     that gRPC code, with the last token in its text
//
// Standard output: "ready", "resolve NAME", "ended NAME MS" when the caller gave up after MS.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// wire passes message bytes through: the few fields are written by hand below.
type wire struct{}

func (wire) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (wire) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (wire) Name() string { return "proto" }

type mode struct {
	what   string
	number int64
	word   string
}

type driver struct {
	endpoint, client, secret string
	mutex                    sync.Mutex
	modes                    map[string]mode
	last                     string
}

func say(format string, parts ...any) {
	fmt.Printf(format+"\n", parts...)
}

// fetch asks the identity provider for a token: the token, its type and its life.
func (d *driver) fetch(ctx context.Context) (string, string, time.Duration, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {d.client}, "client_secret": {d.secret}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", "", 0, err
	}
	request.Header.Set("content-type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", "", 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Token   string `json:"access_token"`
		Kind    string `json:"token_type"`
		Expires int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", "", 0, err
	}
	if answer.Token == "" {
		return "", "", 0, fmt.Errorf("no token in the answer with status %d", response.StatusCode)
	}
	return answer.Token, answer.Kind, time.Duration(answer.Expires) * time.Second, nil
}

// fieldOne is the text in field 1 of a message.
func fieldOne(message []byte) string {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeTag(message)
		if size < 0 {
			return ""
		}
		message = message[size:]
		if number == 1 && kind == protowire.BytesType {
			text, _ := protowire.ConsumeString(message)
			return text
		}
		size = protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 {
			return ""
		}
		message = message[size:]
	}
	return ""
}

func answer(token string, expires int64, kind string) []byte {
	out := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), token)
	out = protowire.AppendVarint(protowire.AppendTag(out, 2, protowire.VarintType), uint64(expires))
	return protowire.AppendString(protowire.AppendTag(out, 3, protowire.BytesType), kind)
}

var unfit = map[string]string{"empty": "", "line": "first\nsecond", "umlaut": "für"}

func (d *driver) resolve(ctx context.Context, request []byte) ([]byte, error) {
	name := fieldOne(request)
	say("resolve %s", name)
	began := time.Now()
	d.mutex.Lock()
	as, known := d.modes[name]
	last := d.last
	d.mutex.Unlock()
	if !known {
		return nil, status.Errorf(codes.NotFound, "credential %q not configured", name)
	}
	switch as.what {
	case "fail":
		number, _ := strconv.Atoi(as.word)
		return nil, status.Errorf(codes.Code(number), "the provider said: %s", last)
	case "bytes":
		return []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f}, nil
	case "text":
		return answer(unfit[as.word], time.Now().Add(time.Hour).UnixMilli(), "Bearer"), nil
	case "slow":
		select {
		case <-ctx.Done():
			say("ended %s %d", name, time.Since(began).Milliseconds())
			return nil, ctx.Err()
		case <-time.After(time.Duration(as.number) * time.Millisecond):
		}
	}
	token, kind, life, err := d.fetch(ctx)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "token endpoint: %v", err)
	}
	d.mutex.Lock()
	d.last = token
	d.mutex.Unlock()
	expires := began.Add(life).UnixMilli()
	if as.what == "expires" {
		expires = began.UnixMilli() + as.number
	}
	return answer(token, expires, kind), nil
}

func (d *driver) list(context.Context, []byte) ([]byte, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	var out []byte
	for name := range d.modes {
		info := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
		out = protowire.AppendBytes(protowire.AppendTag(out, 1, protowire.BytesType), info)
	}
	return out, nil
}

func unary(handle func(*driver, context.Context, []byte) ([]byte, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var request []byte
		if err := decode(&request); err != nil {
			return nil, err
		}
		out, err := handle(srv.(*driver), ctx, request)
		return &out, err
	}
}

func (d *driver) obey() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := append(strings.Fields(lines.Text()), "", "", "")
		if words[0] != "as" {
			continue
		}
		number, _ := strconv.ParseInt(words[3], 10, 64)
		d.mutex.Lock()
		d.modes[words[1]] = mode{what: words[2], number: number, word: words[3]}
		d.mutex.Unlock()
		say("done %s", lines.Text())
	}
	os.Exit(0)
}

func main() {
	socket := os.Args[1]
	d := &driver{endpoint: os.Args[2], client: os.Args[3], secret: os.Getenv("CLIENT_SECRET"), modes: map[string]mode{"github": {what: "ok"}}}
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodec(wire{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "openshell.credentials.v1.CredentialsDriver",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "ResolveCredential", Handler: unary((*driver).resolve)},
			{MethodName: "ListCredentials", Handler: unary((*driver).list)},
		},
	}, d)
	go d.obey()
	say("ready")
	panic(server.Serve(listener))
}
