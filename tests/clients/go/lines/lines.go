// Package lines is what the Go drivers share: one JSON request a line comes in, one JSON answer a line goes out; a
// member of a group tells its story in lines. Operations and fields are those of harness/drivers.py and members.py.
package lines

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"slices"
	"sync"
	"time"
)

const OperationTimeout = 60 * time.Second

type Header struct {
	Key   string
	Value []byte
}

// Record is one record on the way in or out; []byte is base64 in JSON and nil is null.
type Record struct {
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []Header `json:"headers"`
}

// Offsets is an offset that a transaction commits for a group.
type Offsets struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Round is one transaction; it stays open if it says nothing of a commit.
type Round struct {
	Records []Record `json:"records"`
	Commit  *bool    `json:"commit"`
	Offsets *Offsets `json:"offsets"`
}

type Request struct {
	Operation     string             `json:"operation"`
	Broker        string             `json:"broker"`
	Topic         string             `json:"topic"`
	Partition     int32              `json:"partition"`
	Records       []Record           `json:"records"`
	Codec         string             `json:"codec"`
	Acks          int                `json:"acks"`
	Idempotent    bool               `json:"idempotent"`
	Start         int64              `json:"start"`
	ReadCommitted bool               `json:"read_committed"`
	Spec          string             `json:"spec"`
	Timestamp     int64              `json:"timestamp"`
	Partitions    int32              `json:"partitions"`
	Replication   int16              `json:"replication"`
	Configs       map[string]*string `json:"configs"`

	// Of a transactional producer.
	TransactionalID string  `json:"transactional_id"`
	TimeoutMs       int     `json:"timeout_ms"`
	Rounds          []Round `json:"rounds"`

	// Of a member of a group.
	Group      string `json:"group"`
	Pattern    string `json:"pattern"`
	Assignor   string `json:"assignor"`
	Instance   string `json:"instance"`
	Protocol   string `json:"protocol"`
	SessionMs  int    `json:"session_ms"`
	Reset      string `json:"reset"`
	RecordsMax int    `json:"records_max"`
}

type Answer map[string]any

// Driver is one client. ErrorCode finds Kafka's error number in an error; 0 if it is none of the broker's.
type Driver struct {
	Perform   func(context.Context, Request) (Answer, error)
	Member    func(context.Context, Request, *Member) error
	ErrorCode func(error) int
}

func (driver Driver) Serve() {
	requests := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := requests.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked Request
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		if asked.Operation == "member" {
			given := driver.member(asked, requests)
			given["event"] = "ended"
			emit(given)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), OperationTimeout)
		given, err := driver.Perform(ctx, asked)
		cancel()
		emit(driver.orFailure(given, err))
	}
}

func (driver Driver) orFailure(given Answer, err error) Answer {
	if err == nil {
		return given
	}
	if code := driver.ErrorCode(err); code != 0 {
		return Answer{"error": code, "message": err.Error()}
	}
	return Answer{"failure": err.Error()}
}

func (driver Driver) member(asked Request, requests *bufio.Reader) Answer {
	ctx, leave := context.WithCancel(context.Background())
	member := &Member{leave: leave, leftToRead: asked.RecordsMax, unlimited: asked.RecordsMax == 0}
	go func() {
		_, _ = requests.ReadBytes('\n')
		leave()
	}()
	return driver.orFailure(Answer{}, driver.Member(ctx, asked, member))
}

// Member is what a driver tells of itself while it is in a group. The context of the member ends when it shall leave.
type Member struct {
	leave      context.CancelFunc
	mutex      sync.Mutex
	leftToRead int
	unlimited  bool
	told       bool
	owned      []int32
}

// Offset is a partition and an offset; an array in JSON.
type Offset [2]int64

// Read is partition, offset and value of a record that was read; an array in JSON.
type Read [3]any

// Assigned tells the partitions that are owned from now on, if they are others than before.
func (member *Member) Assigned(partitions []int32) {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	now := slices.Clone(partitions)
	slices.Sort(now)
	if member.told && slices.Equal(now, member.owned) {
		return
	}
	member.told, member.owned = true, now
	if now == nil {
		now = []int32{}
	}
	emit(Answer{"event": "assigned", "partitions": now})
}

// Records tells what was read, no more than was asked for, and returns what to commit: partition and offset behind
// the last of each.
func (member *Member) Records(read []Record) []Offset {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	if !member.unlimited {
		if len(read) > member.leftToRead {
			read = read[:member.leftToRead]
		}
		member.leftToRead -= len(read)
	}
	if len(read) == 0 {
		return nil
	}
	told, next := []Read{}, []Offset{}
	for _, each := range read {
		told = append(told, Read{each.Partition, each.Offset, string(each.Value)})
		behind := Offset{int64(each.Partition), each.Offset + 1}
		at := slices.IndexFunc(next, func(known Offset) bool { return known[0] == behind[0] })
		if at < 0 {
			next = append(next, behind)
		} else {
			next[at] = behind
		}
	}
	emit(Answer{"event": "records", "records": told})
	return next
}

// Committed tells what came of a commit: confirmed, or refused because a rebalance came in between. A member that has
// read what it was asked for leaves after it.
func (member *Member) Committed(offsets []Offset, err error) {
	member.mutex.Lock()
	defer member.mutex.Unlock()
	if err != nil {
		emit(Answer{"event": "commit_refused", "message": err.Error()})
	} else {
		emit(Answer{"event": "committed", "offsets": offsets})
	}
	if !member.unlimited && member.leftToRead == 0 {
		member.leave()
	}
}

// Trouble tells an error that the client mends by itself.
func (member *Member) Trouble(err error) {
	emit(Answer{"event": "trouble", "message": err.Error()})
}

var (
	out      = json.NewEncoder(os.Stdout)
	outMutex sync.Mutex
)

func emit(given Answer) {
	outMutex.Lock()
	defer outMutex.Unlock()
	if err := out.Encode(given); err != nil {
		panic(err)
	}
}
