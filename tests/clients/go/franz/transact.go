package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"corelane/tests/clients/lines"
)

// transact closes the client without ending a transaction that is left open. Without rounds it initializes the producer
// nevertheless, which franz-go otherwise does when something is written.
func transact(ctx context.Context, asked lines.Request) error {
	options := []kgo.Opt{
		kgo.SeedBrokers(asked.Broker),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.TransactionalID(asked.TransactionalID),
		kgo.TransactionTimeout(time.Duration(asked.TimeoutMs) * time.Millisecond),
	}
	for _, round := range asked.Rounds {
		if round.Offsets != nil {
			return transactAsMember(ctx, asked, append(options,
				kgo.ConsumerGroup(round.Offsets.Group),
				kgo.ConsumeTopics(round.Offsets.Topic),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
				kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			))
		}
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	if _, _, err := client.ProducerID(ctx); err != nil {
		return err
	}
	for _, round := range asked.Rounds {
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		if err := client.ProduceSync(ctx, recordsOf(asked.Topic, round)...).FirstErr(); err != nil {
			return err
		}
		if round.Commit == nil {
			return nil
		}
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(*round.Commit)); err != nil {
			return err
		}
	}
	return nil
}

// transactAsMember commits offsets: in a transaction franz-go commits only what a member of the group has read, so it
// joins, and in each round reads on to the offset. What the member reads must be one partition. Offsets franz-go keeps
// until it commits: of a transaction that is aborted or left open the broker never hears them.
func transactAsMember(ctx context.Context, asked lines.Request, options []kgo.Opt) error {
	session, err := kgo.NewGroupTransactSession(options...)
	if err != nil {
		return err
	}
	defer session.Close()
	for _, round := range asked.Rounds {
		if err := session.Begin(); err != nil {
			return err
		}
		for read := int64(0); round.Offsets != nil && read < round.Offsets.Offset; {
			fetches := session.PollRecords(ctx, 1)
			if err := fetches.Err(); err != nil {
				return err
			}
			for _, got := range fetches.Records() {
				read = got.Offset + 1
			}
		}
		if err := session.ProduceSync(ctx, recordsOf(asked.Topic, round)...).FirstErr(); err != nil {
			return err
		}
		if round.Commit == nil {
			return nil
		}
		committed, err := session.End(ctx, kgo.TransactionEndTry(*round.Commit))
		if err != nil {
			return err
		}
		if committed != *round.Commit {
			return fmt.Errorf("committed is %t, and %t was asked for", committed, *round.Commit)
		}
	}
	return nil
}

func recordsOf(topic string, round lines.Round) []*kgo.Record {
	records := []*kgo.Record{}
	for _, given := range round.Records {
		records = append(records, record(topic, given))
	}
	return records
}
